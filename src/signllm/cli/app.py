"""The commands under one name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from signllm import __version__
from signllm.cli.console import UNUSABLE, is_user_error, say
from signllm.cli.data import data_app
from signllm.cli.decode import decode
from signllm.cli.tokenize import tokenize
from signllm.cli.view import view


class Commands(TyperGroup):
    """Tells a mistake of the user in one line; what is a fault of the program keeps its traceback."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except Exception as error:
            if not is_user_error(error):
                raise
            say(f"error: {error}", style="bold red")
            raise typer.Exit(UNUSABLE) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(tokenize)
app.command()(decode)
app.command()(view)
app.add_typer(data_app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"signllm {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Sign language as tokens: poses to discrete codes and back, and pages to look at both.

    Exit codes: 0 all done; 1 something was skipped, with the reason told; 2 wrong usage, or nothing usable.
    """


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the report and the trained tokenizer.")] = Path("demo_out"),
    poses: Annotated[
        Path | None, typer.Option(help="Folder of pose files to train on, besides procedural ones, and to show.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Longest time for training.")] = 6.0,
    seed: Annotated[int, typer.Option(help="Seed of the data, their split and the training.")] = 0,
) -> None:
    """Train a small sign tokenizer in a few minutes and report what it can do.

    Examples:

    \b
    signllm demo
    signllm demo --poses my_poses --minutes 10
    """
    from transformers.utils import logging

    from signllm.demo import run_demo

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    raise typer.Exit(run_demo(output=output, poses=poses, minutes=minutes, seed=seed))
