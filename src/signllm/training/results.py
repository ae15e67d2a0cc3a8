"""What a run leaves behind: a result record and a model card."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

import signllm
from signllm.files import write_text

CARD_TEMPLATE = Path(__file__).with_name("codec_card.md")


def result_record(system: str, config: dict[str, Any], values: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """The record of one run: what was run, on what, and every value in full precision."""
    return {
        "system": system,
        "signllm": signllm.__version__,
        "git_commit": _git_commit(),
        "config_hash": hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:16],
        **facts,
        "values": values,
        "config": config,
    }


def write_result(path: str | Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=2, default=str) + "\n")


def write_codec_card(folder: str | Path, record: dict[str, Any], *, data: str, procedural: bool) -> None:
    """Model card of a codec, its numbers taken from the run's result record."""
    card_data = ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        tags=["sign-language", "tokenizer", "pose", *(["procedural"] if procedural else [])],
    )
    card = ModelCard.from_template(
        card_data, template_path=str(CARD_TEMPLATE), record=record, data=data, procedural=procedural
    )
    write_text(Path(folder) / "README.md", str(card))


def _git_commit() -> str | None:
    """Commit of the code that ran, or None outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
