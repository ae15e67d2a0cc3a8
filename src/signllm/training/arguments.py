"""Arguments of the training scripts: dataclasses, filled from a YAML file and then from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import sys
from collections.abc import Sequence
from typing import Any

import yaml
from transformers import HfArgumentParser, PreTrainedConfig


def parse_arguments(kinds: Sequence[Any], argv: Sequence[str] | None = None, description: str = "") -> tuple:
    """One instance of each dataclass of `kinds`: defaults, overridden by `--config FILE.yaml`, overridden by `--name`.

    Exits with a message on an unknown name, in the file as on the command line.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(kinds, description=description)
    parser.add_argument("--config", help="YAML file of `name: value` lines with any of the arguments below")
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--config")
    path = early.parse_known_args(argv)[0].config
    if path is not None:
        values = _read_yaml(path, parser)
        names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
        for name in values.keys() - names:
            near = difflib.get_close_matches(name, names, n=1)
            parser.error(f"{path}: unknown name {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        parser.set_defaults(**values)
        for action in parser._actions:
            if action.dest in values:
                action.required = False
    return parser.parse_args_into_dataclasses(args=argv)[: len(kinds)]


def _read_yaml(path: str, parser: argparse.ArgumentParser) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.safe_load(file) or {}
    except (OSError, yaml.YAMLError) as error:
        parser.error(f"cannot read the configuration {path}: {error}")
    if not isinstance(values, dict):
        parser.error(f"{path}: expected lines `name: value`, got a {type(values).__name__}")
    return values


def config_arguments(config_class: type[PreTrainedConfig]) -> type:
    """A dataclass of the fields that a model's configuration declares itself, so that scripts need not repeat them."""
    fields = []
    for name, kind in config_class.__annotations__.items():
        # Dictionaries come as JSON on the command line, as transformers' own arguments do.
        kind = dict | str | None if kind == dict | None else kind
        fields.append((name, kind, dataclasses.field(default=getattr(config_class, name))))
    return dataclasses.make_dataclass(f"{config_class.__name__}Arguments", fields)


def build_config(config_class: type[PreTrainedConfig], arguments: Any) -> PreTrainedConfig:
    """The model's configuration from an instance of `config_arguments(config_class)`."""
    values = dataclasses.asdict(arguments)
    return config_class(
        **{
            name: json.loads(value) if isinstance(value, str) and value.startswith("{") else value
            for name, value in values.items()
        }
    )
