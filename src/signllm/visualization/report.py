"""A report as one self-contained HTML page: tables of figures, then the clips themselves, playing side by side."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from signllm.files import write_text
from signllm.visualization.player import Scene, page

HOW_TO_READ = (
    "Each card is one clip; the skeletons in it play in step. Tokens are the coloured strip under the time line, one "
    "colour per code, one row per level of a residual codebook: point at one for its number and frames, click to go "
    "there. Zoom to a hand to judge a handshape. Overlay lays each skeleton over the first one of its card. A joint "
    "that was not tracked is not drawn, and a hand that was not tracked is named."
)


@dataclass
class Table:
    """A table of a report.

    Args:
        title: heading.
        columns: headings of the columns.
        rows: as long as `columns` each; floats are shown with four significant digits, None as a dash, the rest by
            `str`. The first cell of a row is its name.
        note: a line of small print under the table: how the figures were measured.

    Raises:
        ValueError: a row that is not as long as `columns`.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: row {number} has {len(row)} cells, expected {len(self.columns)}"
                )


def write_report(
    path: str | Path,
    title: str,
    intro: str,
    tables: Sequence[Table],
    scenes: Sequence[Scene],
    provenance: Mapping[str, object],
    badges: Sequence[str] = (),
) -> Path:
    """Write the page; an existing file is replaced in one step, or left alone on failure.

    Args:
        path: of the HTML file.
        title: of the page.
        intro: plain text, paragraphs separated by an empty line.
        tables: shown above the clips.
        scenes: the clips; at least one.
        provenance: what was run and on what, as name and value.
        badges: short words beside the title, for instance `procedural`.

    Raises:
        ValueError: no scenes.
    """
    header = [
        f"<h1>{html.escape(title)}</h1>",
        _badges(badges),
        *(f"<p>{html.escape(paragraph)}</p>" for paragraph in intro.split("\n\n") if paragraph.strip()),
        *(_table(table) for table in tables),
        f"<h2>Clips</h2>\n<p>{html.escape(HOW_TO_READ)}</p>",
    ]
    footer = _provenance(provenance) if provenance else ""
    text = page(scenes, title=title, header="\n".join(header), footer=footer)
    return write_text(path, text)


def _badges(badges: Sequence[str]) -> str:
    if not badges:
        return ""
    return f'<ul class="badges">{"".join(f"<li>{html.escape(badge)}</li>" for badge in badges)}</ul>'


def _table(table: Table) -> str:
    numeric = [
        all(row[index] is None or _is_number(row[index]) for row in table.rows) for index in range(len(table.columns))
    ]
    classes = [' class="number"' if number else "" for number in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(str(column))}</th>'
        for column, kind in zip(table.columns, classes, strict=True)
    )
    body = "\n".join(f"<tr>{_cells(row, classes)}</tr>" for row in table.rows)
    note = f'\n<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f"<h2>{html.escape(table.title)}</h2>\n"
        f'<div class="table" tabindex="0" role="region" aria-label="{html.escape(table.title)}">'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>{note}"
    )


def _cells(row: Sequence[object], classes: Sequence[str]) -> str:
    cells = []
    for index, (value, kind) in enumerate(zip(row, classes, strict=True)):
        tag, scope = ("th", ' scope="row"') if index == 0 else ("td", "")
        cells.append(f"<{tag}{scope}{kind}>{html.escape(_show(value))}</{tag}>")
    return "".join(cells)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _show(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    return f"{value:,}" if _is_number(value) else str(value)


def _provenance(provenance: Mapping[str, object]) -> str:
    shown = {str(name): _show(value) if isinstance(value, float) else str(value) for name, value in provenance.items()}
    items = "\n".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in shown.items())
    return f'<h2>Where this comes from</h2>\n<dl class="provenance">\n{items}\n</dl>'
