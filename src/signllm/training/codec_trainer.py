"""The Trainer of sign codecs: plain but for what it logs, how it evaluates, and the papers' learning-rate schedule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainingArguments
from transformers.utils import logging

from signllm.analysis.codec_report import evaluate_codec
from signllm.data.augmentation import PoseAugmentation
from signllm.data.clips import WindowCollator, WindowDataset
from signllm.models.normalization import masked_statistics, to_parent_offsets
from signllm.models.pose_preparation import PreparedPose

logger = logging.get_logger(__name__)

LOGGED = ("reconstruction_loss", "commitment_loss", "velocity_loss", "position_loss", "perplexity")


class CodecTrainer(Trainer):
    """Trains a codec on random windows and evaluates it on whole clips.

    Args:
        model: a codec; its own loss is used. args: as for `Trainer`, with `max_steps` set.
        train_clips, eval_clips: prepared by the codec's preparation; window: frames.
        decay_at: the learning rate is multiplied by `decay_factor` from this step on, after the linear warm-up of
            `args` (T2M-GPT: warm-up 1000, x 0.05 at two thirds). None: the schedule that `args` name.
        augment: changes training windows.
    """

    def __init__(
        self,
        model,
        args: TrainingArguments,
        train_clips: Sequence[PreparedPose],
        eval_clips: Sequence[PreparedPose],
        *,
        window: int,
        decay_at: int | None = None,
        decay_factor: float = 0.05,
        augment: PoseAugmentation | None = None,
        **kwargs,
    ) -> None:
        if args.max_steps <= 0:
            raise ValueError("windows are drawn without end: set max_steps")
        items = args.max_steps * args.train_batch_size * args.world_size * args.gradient_accumulation_steps
        dataset = WindowDataset(train_clips, window, items, args.data_seed or args.seed, augment)
        super().__init__(
            model=model,
            args=args,
            train_dataset=dataset,
            eval_dataset=list(eval_clips),
            data_collator=WindowCollator(window),
            **kwargs,
        )
        self.decay_at, self.decay_factor = decay_at, decay_factor
        self._parts: dict[str, Any] = defaultdict(float)
        self._parts_count = 0

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        decay_at = self.decay_at
        if decay_at is None:
            return super().create_scheduler(num_training_steps, optimizer)
        warmup = self.args.get_warmup_steps(num_training_steps)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            return self.decay_factor if step >= decay_at else 1.0

        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, factor)  # type: ignore[arg-type]
        return self.lr_scheduler

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        output = model(**inputs)
        for name in LOGGED:
            if (value := getattr(output, name)) is not None:
                self._parts[name] += value.detach().float().mean()
        self._parts_count += 1
        return (output.loss, output) if return_outputs else output.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss and the perplexity, averaged since the last log and over processes."""
        if "loss" in logs and self._parts_count:
            for name, total in self._parts.items():
                logs[name] = float(self.accelerator.reduce(total / self._parts_count, reduction="mean"))
            self._parts.clear()
            self._parts_count = 0
        super().log(logs, start_time)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Whole clips in length buckets (every process measures all of them, so that all agree on the best step)."""
        model = self.accelerator.unwrap_model(self.model)
        report = evaluate_codec(model, self.eval_dataset)  # type: ignore[arg-type]
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in report.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def fit_statistics(model, clips: Sequence[PreparedPose]) -> None:
    """Give a codec the mean and deviation of the parent offsets of its training clips."""
    parents = model.parents.cpu()
    mean, std = masked_statistics(to_parent_offsets(clip.values, clip.joint_mask, parents) for clip in clips)
    model.set_statistics(mean, std)


def check_processes(trainer: Trainer, expected: int | None) -> dict[str, str | int]:
    """Log how many processes really train, and by which means; refuse a run that is not what was launched.

    Some launch lines start one process, or plain DDP instead of DeepSpeed, without a word.

    Raises:
        RuntimeError: other than `expected` processes, or a DeepSpeed configuration that is not in use.
    """
    kind = str(trainer.accelerator.distributed_type.value)
    count = trainer.accelerator.num_processes
    if trainer.accelerator.is_main_process:
        logger.warning(f"training with {count} process(es), distributed type {kind}, on {trainer.args.device}")
    if expected is not None and count != expected:
        raise RuntimeError(f"expected {expected} processes, got {count}: use the launch lines of training/README.md")
    if trainer.args.deepspeed and kind != "DEEPSPEED":
        raise RuntimeError(
            f"a DeepSpeed configuration was given but the run is of type {kind}; see training/README.md"
        )
    return {"processes": count, "distributed_type": kind}
