"""Messages and exit codes of the commands."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

SOME_SKIPPED = 1
UNUSABLE = 2

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class CommandError(Exception):
    """A request that cannot be met as it was typed; the message says why and what to do."""


def is_user_error(error: Exception) -> bool:
    """Whether a message is all that the user needs: wrong usage, unusable poses, files that cannot be read."""
    if isinstance(error, ValueError):  # asked first, so that help does not wait for numpy
        from signllm.models.poses import PoseError

        return isinstance(error, PoseError)
    # A closed pipe (`signllm ... | head`) is nobody's error.
    return isinstance(error, CommandError | OSError) and not isinstance(error, BrokenPipeError)


def plain(text: object) -> str:
    """One line that a terminal may show: file names and ids can hold line breaks and control sequences."""
    line = " ".join(str(text).split())
    return "".join(character if character.isprintable() else "?" for character in line)


def for_shell(message: object) -> str:
    """A message of the library in the words of the command line: `pass fps=` becomes `pass --fps`."""
    return re.sub(r"\b(person|fps|skeleton)=(?=([\w'])?)", lambda m: f"--{m[1]}{' ' if m[2] else ''}", str(message))


def say(text: object, style: str = "") -> None:
    """Print one line to stderr."""
    err.print(Text(plain(for_shell(text)), style=style), soft_wrap=True)


def progress_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, disable=not err.is_terminal)


@dataclass
class Tally:
    """What was done and what had to be skipped. Skipping is told at once, with the reason."""

    done: int = 0
    skipped: int = 0

    def skip(self, name: str, reason: object) -> None:
        self.skipped += 1
        told = str(reason)
        say(f"skipped {told}" if name in told else f"skipped {name}: {told}", style="yellow")

    @property
    def exit_code(self) -> int:
        if not self.done:
            return UNUSABLE
        return SOME_SKIPPED if self.skipped else 0
