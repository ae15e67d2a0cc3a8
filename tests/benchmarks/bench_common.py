"""What the benchmarks share: interleaved timing, ratios, goals, a table and a result file."""

from __future__ import annotations

import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

WARM_UP_ROUNDS = 2


@dataclass(frozen=True)
class Ratio:
    """Time of one candidate over that of the reference, round by round."""

    median: float
    lowest: float
    highest: float
    reference_ms: float

    def __str__(self) -> str:
        return f"{self.median:.2f}x [{self.lowest:.2f}..{self.highest:.2f}]"


@dataclass(frozen=True)
class Line:
    """One row of the report. `goal` is compared with `value`; a line without one only informs."""

    task: str
    against: str
    value: float
    shown: str
    goal: float | None = None
    stretch: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.goal is None or self.value >= self.goal


def time_interleaved(
    candidates: dict[str, Callable[[], object]], rounds: int, seed: int = 0
) -> dict[str, list[float]]:
    """Seconds per round of each candidate. Each round calls all of them once, in random order, in this process."""
    order = list(candidates)
    shuffle = random.Random(seed).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_index in range(WARM_UP_ROUNDS + rounds):
        shuffle(order)
        for name in order:
            start = time.perf_counter()
            candidates[name]()
            elapsed = time.perf_counter() - start
            if round_index >= WARM_UP_ROUNDS:
                seconds[name].append(elapsed)
    return seconds


def ratio_to(seconds: dict[str, list[float]], name: str, reference: str) -> Ratio:
    """How much longer `name` takes than `reference`: median and range over the rounds."""
    ratios = [other / own for other, own in zip(seconds[name], seconds[reference], strict=True)]
    reference_ms = 1e3 * statistics.median(seconds[reference])
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), reference_ms)


def print_lines(title: str, lines: list[Line]) -> None:
    """The report as a table on the terminal."""
    table = Table(title=title)
    for column in ("task", "against", "result", "goal", "stretch", "", "note"):
        table.add_column(column)
    for line in lines:
        goal = "" if line.goal is None else f">= {line.goal:g}"
        verdict = "" if line.goal is None else ("[green]pass[/]" if line.passed else "[bold red]FAIL[/]")
        table.add_row(line.task, line.against, line.shown.replace("[", r"\["), goal, line.stretch, verdict, line.note)
    Console(width=150).print(table)


def write_lines(path: Path, lines: list[Line], **facts: object) -> None:
    """The report as JSON, with the machine and `facts` about the run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"processor": processor_name(), "python": platform.python_version(), "system": platform.platform()}
    report = {"machine": machine, **facts, "lines": [{**asdict(line), "passed": line.passed} for line in lines]}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def processor_name() -> str:
    """The CPU's model name, as well as it can be found out."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
