"""Train a sign tokenizer: poses -> discrete codes -> poses.

    python training/train_codec.py --config training/configs/procedural_small.yaml
    python training/train_codec.py --config training/configs/sts_vqvae_base.yaml --poses FOLDER --output_dir runs/mine
    python training/train_codec.py --config ... --resume_from_checkpoint last

Every argument can stand in the YAML file and be overridden on the command line. Several processes: training/README.md.
The output folder then holds the model and its tokenizer (`AutoModel`, `AutoTokenizer`), result.json and README.md.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from transformers import TrainingArguments, set_seed
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging

from signllm.analysis.codec_report import evaluate_codec
from signllm.auto import SignVQConfig, SignVQModel, SignVQTokenizer
from signllm.data.augmentation import PoseAugmentation
from signllm.data.clips import SPLITS, ClipSet, load_folder, load_procedural
from signllm.training.arguments import build_config, config_arguments, parse_arguments
from signllm.training.codec_trainer import CodecTrainer, check_processes, fit_statistics
from signllm.training.results import result_record, write_codec_card, write_result

logger = logging.get_logger("train_codec")

ModelArguments = config_arguments(SignVQConfig)


@dataclass
class DataArguments:
    poses: str = field(
        default="procedural",
        metadata={"help": "folder of pose files, or `procedural`: fingerspelled words of the procedural signer"},
    )
    source_fps: float | None = field(
        default=None, metadata={"help": "frame rate of pose files that do not state one (OpenPose JSON, DWPose)"}
    )
    person: str = field(
        default="error",
        metadata={"help": "who to take where a file shows several: error, first, confident or a number"},
    )
    image_size: list[int] | None = field(
        default=None,
        metadata={"help": "width and height of the videos, where coordinates are fractions of them (DWPose, Kaggle)"},
    )
    num_clips: int = field(default=2000, metadata={"help": "procedural only: clips in all, split 80/10/10"})
    split_seed: int = field(
        default=0, metadata={"help": "splits 80/10/10 by clip depend on it and on clip names alone"}
    )
    window: int = field(
        default=64, metadata={"help": "frames of a training window; shorter clips are padded and masked"}
    )
    augment: float = field(
        default=0.0, metadata={"help": "strength of the augmentation of training windows; 1 suits small corpora"}
    )
    decay_at: int | None = field(
        default=None, metadata={"help": "step of the reduction of the learning rate; none: lr_scheduler_type"}
    )
    decay_factor: float = field(default=0.05, metadata={"help": "factor of the learning rate from decay_at on"})
    expected_processes: int | None = field(
        default=None, metadata={"help": "refuse to run with another number of processes than this"}
    )


def load_clips(data: DataArguments, config: SignVQConfig) -> dict[str, ClipSet]:
    if data.poses == "procedural":
        return load_procedural(
            config.preparation, config.num_coordinates, num_clips=data.num_clips, seed=data.split_seed, fps=config.fps
        )
    return load_folder(
        data.poses,
        config.preparation,
        config.num_coordinates,
        seed=data.split_seed,
        fps=data.source_fps,
        person=data.person,
        image_size=tuple(data.image_size) if data.image_size else None,
    )


def describe_data(data: DataArguments, splits: dict[str, ClipSet]) -> str:
    source = "the procedural signer" if data.poses == "procedural" else f"`{Path(data.poses).name}`"
    counts = ", ".join(f"{len(splits[name])} {name}" for name in SPLITS)
    skipped = sum(len(clips.skipped) for clips in splits.values())
    return f"Clips of {source}: {counts}; {skipped} skipped."


def main(argv: list[str] | None = None) -> dict:
    started = time.time()
    model_arguments, data, arguments = parse_arguments(
        (ModelArguments, DataArguments, TrainingArguments), argv, description=__doc__
    )
    set_seed(arguments.seed)
    output = Path(arguments.output_dir)

    # ---- data -------------------------------------------------------------------------------------------------------
    config = build_config(SignVQConfig, model_arguments)
    splits = load_clips(data, config)
    logger.warning(describe_data(data, splits))
    for clips in splits.values():
        for name, reason in clips.skipped:
            logger.warning(f"skipped {name}: {reason}")
    if not len(splits["train"]) or not len(splits["validation"]):
        raise SystemExit("training needs at least one clip to train and one to validate on; give more files")

    # ---- model ------------------------------------------------------------------------------------------------------
    model = SignVQModel(config)
    fit_statistics(model, splits["train"].prepared)

    # ---- training ---------------------------------------------------------------------------------------------------
    arguments.remove_unused_columns = False  # items are clips, not rows of columns
    arguments.dataloader_pin_memory = arguments.device.type == "cuda"
    trainer = CodecTrainer(
        model,
        arguments,
        splits["train"].prepared,
        splits["validation"].prepared,
        window=data.window,
        decay_at=data.decay_at,
        decay_factor=data.decay_factor,
        augment=PoseAugmentation(config.skeleton, data.augment) if data.augment else None,
    )
    processes = check_processes(trainer, data.expected_processes)
    checkpoint = arguments.resume_from_checkpoint
    if checkpoint == "last":
        checkpoint = get_last_checkpoint(str(output))
        if checkpoint is None:
            raise SystemExit(f"there is no checkpoint to resume from in {output}")
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(str(output))  # all processes: with ZeRO-3 each holds a part
    trainer.save_state()
    trainer.accelerator.wait_for_everyone()
    if not trainer.is_world_process_zero():
        return {}

    # ---- results ----------------------------------------------------------------------------------------------------
    unset_hf_deepspeed_config()  # one process goes on alone: with ZeRO-3 still set, loading would wait for the others
    (output / "training_args.bin").unlink(missing_ok=True)  # a pickle, which nobody should have to load
    model = SignVQModel.from_pretrained(output)
    SignVQTokenizer.from_codec(model).save_pretrained(output, save_codec=False)
    test = splits["test"] if len(splits["test"]) else splits["validation"]
    record = result_record(
        model.config.model_type,
        {**model.config.to_diff_dict(), **asdict(model_arguments), **asdict(data)},
        {
            name: evaluate_codec(model, clips.prepared)
            for name, clips in (("validation", splits["validation"]), ("test", test))
        },
        seed=arguments.seed,
        data="procedural" if data.poses == "procedural" else Path(data.poses).name,
        split_ids_hash=test.fingerprint(),
        skipped_clips=sum(len(clips.skipped) for clips in splits.values()),
        step=trainer.state.best_global_step or trainer.state.global_step,
        device=str(arguments.device),
        wall_time_s=round(time.time() - started, 1),
        **processes,
    )
    write_result(output / "result.json", record)
    write_codec_card(output, record, data=describe_data(data, splits), procedural=data.poses == "procedural")
    print(json.dumps(record["values"]["test"], indent=2))
    return record


if __name__ == "__main__":
    main(sys.argv[1:])
