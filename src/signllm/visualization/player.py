"""The HTML player: one self-contained file that plays skeletons in step, with their tokens under the time line.

The page holds its own styles, script and data, asks nothing of the network (its content security policy forbids it)
and works from `file://`. Legend: T frames, T' code steps, J joints, C coordinates, Q quantizers.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from signllm.files import write_text
from signllm.models.poses import Pose
from signllm.models.skeletons import get_skeleton
from signllm.visualization.view import PART_COLORS, View, drawn_edges, joint_parts, scene_views, skeleton_of

STEPS_ACROSS_VIEW = 8000  # coordinates are rounded to this many steps across the window: a hand still has ~1000
MISSING = -32768  # the quantised coordinate of a joint that was not seen


@dataclass
class Track:
    """One skeleton of a scene.

    Args:
        pose: the clip, in the reader's units.
        label: shown above the skeleton, for instance `original`.
        codes: `[T']` or `[Q, T']` integers to be shown as coloured strips; negative: no code at this step.
        frames_per_code: frames of `pose` that one code step covers.
        caption: a line of small print under the skeleton.

    Raises:
        ValueError: codes that are not integers of one or two axes, or `frames_per_code` <= 0.
        PoseError: unknown skeleton, or a number of joints that is not the skeleton's.
    """

    pose: Pose
    label: str
    codes: np.ndarray | None = None
    frames_per_code: float = 1
    caption: str = ""

    def __post_init__(self) -> None:
        skeleton_of(self.pose)
        if not (np.isfinite(self.frames_per_code) and self.frames_per_code > 0):
            raise ValueError(f"frames_per_code must be a positive number, got {self.frames_per_code}")
        if self.codes is None:
            return
        codes = np.asarray(self.codes)
        if codes.ndim not in (1, 2) or (codes.size and not np.issubdtype(codes.dtype, np.integer)):
            raise ValueError(f"codes must be integers [T'] or [Q, T'], got {codes.dtype} {list(codes.shape)}")
        self.codes = codes


@dataclass
class Scene:
    """Tracks that are shown side by side and play in step."""

    tracks: Sequence[Track]
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        self.tracks = list(self.tracks)
        if not self.tracks:
            raise ValueError(f"scene {self.title!r} has no tracks")


def player_html(scenes: Sequence[Scene], title: str = "Sign poses") -> str:
    """The page that plays `scenes`.

    Raises:
        ValueError: no scenes.
    """
    header = f"<h1>{html.escape(title)}</h1>"
    return page(scenes, title=title, header=header)


def write_player(path: str | Path, scenes: Sequence[Scene], title: str = "Sign poses") -> Path:
    """Write the page that plays `scenes`; an existing file is replaced in one step, or left alone on failure."""
    return write_text(path, player_html(scenes, title))


def page(scenes: Sequence[Scene], *, title: str, header: str, footer: str = "") -> str:
    """A whole page around a player; `header` and `footer` are trusted HTML, everything else is escaped.

    Raises:
        ValueError: no scenes.
    """
    if not scenes:
        raise ValueError("nothing to show: got no scenes")
    script = f"(() => {{\n{_template('skeleton.js')}\n{_template('player.js')}}})();"
    return Template(_template("player.html")).substitute(
        title=html.escape(title),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=_color_rules() + _template("player.css"),
        header=header,
        footer=footer,
        data=json_for_html(payload(scenes)),
        script=script,
    )


def payload(scenes: Iterable[Scene]) -> dict:
    """All that the script needs, as JSON types.

    Coordinates are `center + step * q`, q int16 `[T,J,C]`, all C of a missing joint `MISSING`; q is stored as
    differences to the frame before (modulo 2^16, the first frame to zero), little-endian, zlib, base64. Coordinates
    beyond four windows are clipped: they are far outside the picture.
    """
    skeletons: dict[str, dict] = {}
    described = []
    for scene in scenes:
        views = scene_views([track.pose for track in scene.tracks])
        for track in scene.tracks:
            skeletons.setdefault(track.pose.skeleton, _describe_skeleton(track.pose.skeleton))
        tracks = [_describe_track(track, view) for track, view in zip(scene.tracks, views, strict=True)]
        described.append({"title": scene.title, "note": scene.note, "tracks": tracks})
    return {"skeletons": skeletons, "scenes": described}


def json_for_html(data: dict) -> str:
    """Compact JSON that cannot end its script element or open a comment, whatever strings it holds."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _describe_skeleton(name: str) -> dict:
    skeleton = get_skeleton(name)
    edges, edge_parts = drawn_edges(skeleton)
    return {
        "parts": joint_parts(skeleton).tolist(),
        "edges": edges.tolist(),
        "edgeParts": edge_parts.tolist(),
    }


def _describe_track(track: Track, view: View) -> dict:
    pose = track.pose
    center, step = np.array(view.center), max(view.width, view.height) / STEPS_ACROSS_VIEW
    codes = None if track.codes is None else np.atleast_2d(track.codes).tolist()
    return {
        "label": track.label,
        "caption": track.caption,
        "skeleton": pose.skeleton,
        "fps": pose.fps,
        "shape": list(pose.values.shape),
        "center": center.tolist(),
        "step": step,
        "view": [view.width, view.height],
        "shared": view.shared,
        "data": _pack(pose.values, center[: pose.values.shape[2]], step),
        "codes": codes,
        "framesPerCode": track.frames_per_code,
    }


def _pack(values: np.ndarray, center: np.ndarray, step: float) -> str:
    """`[T,J,C]` coordinates -> base64, as told in `payload`."""
    with np.errstate(invalid="ignore"):
        steps = np.clip(np.rint((values.astype(np.float64) - center) / step), MISSING + 1, -MISSING - 1)
    quantised = np.where(np.isnan(steps), MISSING, steps).astype("<i2").view("<u2")
    differences = quantised.copy()
    differences[1:] -= quantised[:-1]
    return base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode("ascii")


def _color_rules() -> str:
    """The part colours as CSS variables, so that the drawings of `draw` and the player agree."""
    light, dark = (
        ";".join(f"--{part.replace('_', '-')}:{color}" for part, color in PART_COLORS[scheme].items())
        for scheme in ("light", "dark")
    )
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _template(name: str) -> str:
    return files("signllm.visualization").joinpath(name).read_text(encoding="utf-8")
