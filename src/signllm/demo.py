"""The demo: train a small sign tokenizer in a few minutes, measure it, look at it, save it, load it again."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table as RichTable
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoTokenizer, TrainerCallback, TrainingArguments, set_seed

from signllm.analysis.codec_report import evaluate_codec
from signllm.analysis.pca_baseline import PCACodec, pca_errors
from signllm.auto import SignVQConfig, SignVQModel, SignVQTokenizer
from signllm.data.augmentation import PoseAugmentation
from signllm.data.clips import ClipSet, load_folder, load_procedural
from signllm.models.pose_preparation import PreparedPose
from signllm.models.poses import PoseError
from signllm.models.tokenization_sign_codec import SignTokenizer
from signllm.training.codec_trainer import CodecTrainer, fit_statistics
from signllm.training.results import result_record, write_codec_card, write_result
from signllm.visualization.player import Scene, Track
from signllm.visualization.report import Table, write_report

console = Console()

WINDOW = 32
STEPS = 5000
WARMUP_STEPS = 50
SHOWN_CLIPS = 12
ROWS = (  # key of the measurements, its name in tables, and whether PCA has it too
    ("error_all", "reconstruction error, all joints (shoulder widths)"),
    ("error_body", "… body"),
    ("error_hands", "… hands where they are"),
    ("error_handshape", "… hands with wrists aligned (handshape)"),
    ("codebook_usage", "share of codes used"),
    ("perplexity", "perplexity per codebook"),
    ("entropy_bits", "entropy per code (bits)"),
    ("bits_per_second", "bits per second"),
    ("compression", "compression (32-bit coordinates : codes)"),
)


class StopAfter(TrainerCallback):
    """Ends training when its time is up."""

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.deadline = time.monotonic() + 60 * self.minutes

    def on_step_end(self, args, state, control, **kwargs) -> None:
        control.should_training_stop |= time.monotonic() > self.deadline


class DemoTrainer(CodecTrainer):
    """Lowers the learning rate along a cosine of the steps done or, on a slow machine, of the time spent."""

    minutes: float

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        started = time.monotonic()

        def factor(step: int) -> float:
            spent = (time.monotonic() - started) / (60 * self.minutes)
            progress = min(1.0, max(step / num_training_steps, spent))
            return min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * progress))

        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, factor)  # type: ignore[arg-type]
        return self.lr_scheduler


def demo_config() -> SignVQConfig:
    """A small residual codec: four codes of 8 bits for every 2 frames."""
    return SignVQConfig(
        max_gap_s=0.5,
        hidden_size=128,
        depth=1,
        residual_blocks=2,
        quantizer="residual",
        codebook_size=256,
        codebook_dim=64,
        num_quantizers=4,
        commitment_weight=0.1,
        position_weight=5.0,
    )


def run_demo(
    output: Path, poses: Path | None = None, *, minutes: float = 6.0, seed: int = 0, num_clips: int = 2000
) -> int:
    """Train, measure, report, save and reload. Without `poses` everything is procedural.

    With a folder of pose files, four fifths of its clips join the procedural ones in training and the rest is what
    the report shows. Training ends after `STEPS` steps, so that results are the same everywhere, or when `minutes` are
    over, so that a slow machine comes to an end. `num_clips` are procedural ones.

    Returns:
        0 if the reloaded tokenizer gave equal codes, else 1.
    """
    started = time.time()
    set_seed(seed)
    config = demo_config()
    clips = load_demo_clips(config, poses, num_clips, seed)
    shown = clips.shown
    clip_count = len({id(clip) for clip in clips.train})  # without repetitions
    source = "the procedural signer" if poses is None else f"procedural signing and {poses.name}"
    console.print(f"Training on {clip_count} clips of {source} for up to {minutes:g} minutes …")
    model, steps = train_codec(config, clips.train, clips.validation, output, minutes, seed)

    console.print("Measuring …")
    measured = evaluate_codec(model, shown.prepared)
    pca, pca_measured = pca_errors(clips.baseline, shown.prepared, config)
    record = result_record(
        config.model_type,
        config.to_diff_dict(),
        {"test": measured, "pca_same_bit_rate": pca_measured},
        seed=seed,
        data="procedural" if poses is None else f"procedural + {poses.name}",
        split_ids_hash=shown.fingerprint(),
        skipped_clips=len(clips.skipped),
        step=steps,
        device="cpu",
        wall_time_s=round(time.time() - started, 1),
    )

    folder = output / "tokenizer"
    tokenizer = SignVQTokenizer.from_codec(model)
    tokenizer.save_pretrained(folder)
    held_out = "words and signers" if poses is None else f"clips of `{poses.name}`"
    data = f"{clip_count} training clips of {source}; measured on {len(shown)} held-out {held_out}."
    write_codec_card(folder, record, data=data, procedural=True)
    write_result(output / "result.json", record)
    write_demo_report(output / "report.html", model, pca, shown, record, data)
    print_measurements(record)
    for name, reason in clips.skipped:
        console.print(f"[yellow]skipped[/] {name}: {reason}")
    return check_reload(tokenizer, folder, shown, output)


@dataclass
class DemoClips:
    """What the demo trains on, fits PCA to, validates on and shows; and what it could not use, with the reasons."""

    train: list[PreparedPose]
    baseline: list[PreparedPose]
    validation: list[PreparedPose]
    shown: ClipSet
    skipped: list[tuple[str, str]]


def load_demo_clips(config: SignVQConfig, poses: Path | None, num_clips: int, seed: int) -> DemoClips:
    """Procedural clips, and those of a folder if there is one.

    Raises:
        PoseError: too few clips in the folder to train on some and hold others out.
    """
    procedural = load_procedural(config.preparation, config.num_coordinates, num_clips=num_clips, seed=seed)
    train, validation, shown = (procedural[name] for name in ("train", "validation", "test"))
    if poses is None:
        return DemoClips(train.prepared, train.prepared, validation.prepared, shown, [])
    real = load_folder(str(poses), config.preparation, config.num_coordinates, seed=seed, fractions=(0.0, 0.2))
    if not len(real["train"]) or not len(real["test"]):
        raise PoseError(f"{poses}: too few usable clips to train on some and hold others out; give ten or more")
    # Few real clips stand beside many drawn ones: repeat them until half of the training windows are real.
    repeats = max(1, len(train) // len(real["train"]))
    return DemoClips(
        train=train.prepared + real["train"].prepared * repeats,
        # PCA is better off without the procedural clips, so it need not have them.
        baseline=real["train"].prepared,
        validation=validation.prepared,
        shown=real["test"],
        skipped=[entry for clips in real.values() for entry in clips.skipped],
    )


def train_codec(
    config: SignVQConfig,
    train: Sequence[PreparedPose],
    validation: Sequence[PreparedPose],
    output: Path,
    minutes: float,
    seed: int,
) -> tuple[SignVQModel, int]:
    """A codec trained until the time is up, and the number of steps it took."""
    model = SignVQModel(config)
    fit_statistics(model, train)
    arguments = TrainingArguments(
        output_dir=str(output / "training"),
        max_steps=STEPS,
        per_device_train_batch_size=32,
        learning_rate=2e-3,
        adam_beta2=0.99,
        weight_decay=0.0,
        logging_steps=500,
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=not console.is_terminal,
        seed=seed,
    )
    trainer = DemoTrainer(
        model,
        arguments,
        train,
        validation,
        window=WINDOW,
        augment=PoseAugmentation(config.skeleton),
        callbacks=[StopAfter(minutes)],
    )
    trainer.minutes = minutes
    trainer.train()
    return model.eval().cpu(), trainer.state.global_step


def write_demo_report(path: Path, model: SignVQModel, pca: PCACodec, shown: ClipSet, record: dict, data: str) -> None:
    values = record["values"]
    table = Table(
        "Measured on held-out clips",
        ["", "sign tokenizer", "PCA of the same bit rate"],
        [[label, values["test"].get(key), values["pca_same_bit_rate"].get(key)] for key, label in ROWS],
        note=f"{values['test']['clips']} clips, {values['test']['frames']} frames; joints that were tracked. PCA "
        f"codes blocks of {model.config.downsampling} frames, a code step; longer ones serve it better.",
    )
    intro = (
        "A small sign tokenizer, trained in minutes. Every card shows a clip that it never saw: the original, what it "
        "rebuilds from its tokens, and what the classical codec of the same bit rate (PCA of frame blocks with "
        "quantized coefficients) rebuilds. A hand that was not tracked in the original is not drawn in the others.\n\n"
        + data
    )
    write_report(
        path,
        "Sign tokenizer demo",
        intro,
        [table],
        [
            clip_scene(model, pca, name, clip)
            for name, clip in list(zip(shown.ids, shown.prepared, strict=True))[:SHOWN_CLIPS]
        ],
        {key: record[key] for key in ("data", "seed", "step", "config_hash", "git_commit", "wall_time_s", "signllm")},
        badges=["procedural"] if record["data"] == "procedural" else ["procedural + real clips"],
    )


@torch.no_grad()
def clip_scene(model: SignVQModel, pca: PCACodec, name: str, clip: PreparedPose) -> Scene:
    """Original, tokenizer and PCA side by side; what the original lacks is hidden in all three."""
    output = model(clip.values[None], clip.joint_mask[None])
    restore = model.config.preparation.restore

    def track(values: torch.Tensor, label: str, **extra) -> Track:
        return Track(restore(values, joint_mask=clip.joint_mask, fps=clip.fps), label, **extra)

    codes = output.sign_codes[0].numpy()
    return Scene(
        [
            track(clip.values, "original"),
            track(output.pose_values[0], "from tokens", codes=codes, frames_per_code=model.config.downsampling),
            track(pca.reconstruct(clip), "from PCA"),
        ],
        title=name,
    )


def print_measurements(record: dict) -> None:
    table = RichTable(title=f"Held-out clips ({record['data']})")
    for heading in ("", "sign tokenizer", "PCA, same bit rate"):
        table.add_column(heading, justify="left" if not heading else "right")
    values = record["values"]
    for key, label in ROWS:
        cells = [values[name].get(key) for name in ("test", "pca_same_bit_rate")]
        table.add_row(label, *("–" if value is None else f"{value:.4g}" for value in cells))
    console.print(table)
    console.print(f"{record['step']} training steps, {record['wall_time_s']} s in all")


def check_reload(tokenizer: SignTokenizer, folder: Path, shown: ClipSet, output: Path) -> int:
    """Load the repository by `AutoTokenizer` and compare its codes with those of the model that was trained."""
    loaded, saved = AutoTokenizer.from_pretrained(folder).codec, tokenizer.codec
    assert saved is not None
    for clip in shown.prepared:
        batch = {"pose_values": clip.values[None], "joint_mask": clip.joint_mask[None]}
        if not torch.equal(loaded.encode(**batch).sign_codes, saved.encode(**batch).sign_codes):
            console.print("[red]the reloaded tokenizer gives other codes[/]")
            return 1
    console.print(f"Reloaded by AutoTokenizer: equal codes on all {len(shown)} clips.")
    console.print(f"Report: {output / 'report.html'}   tokenizer: {folder}")
    return 0
