"""Skeletons as pictures: a still, a film strip (PNG, SVG, PDF), an animation (GIF, MP4).

Needs the `video` extra (matplotlib, pillow, av); the imports are inside the functions, so that the rest of the package
works without it. Legend: T frames, J joints, C coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from signllm.files import replacing
from signllm.models.poses import Pose
from signllm.visualization.view import PART_COLORS, PARTS, View, drawn_edges, joint_parts, scene_views, skeleton_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection, PathCollection
    from matplotlib.figure import Figure

COLORS = PART_COLORS["light"]
STILL_SUFFIXES = (".png", ".svg", ".pdf")
ANIMATION_SUFFIXES = (".gif", ".mp4")
_BACKGROUND = "white"
_DPI = 120
_FASTEST_GIF = 50  # frames per second; browsers slow down anything faster to 10


def draw_frame(pose: Pose, frame: int, ax: Axes | None = None, *, view: View | None = None) -> Axes:
    """Draw one frame into `ax`, or into a new figure (`ax.figure.savefig(...)` writes it).

    Missing joints are left out, and a hand without any joint is said to be missing. 3-D poses are seen from the front.

    Raises:
        IndexError: no such frame.
        PoseError: unknown skeleton, or a number of joints that is not the skeleton's.
    """
    if not -len(pose) <= frame < len(pose):
        raise IndexError(f"frame {frame} of a clip of {len(pose)} frames")
    view = view or scene_views([pose])[0]
    if ax is None:
        ax = _new_figure([view], rows=1, height=4.0).axes[0]
    _Drawing(ax, pose, view).show(frame)
    return ax


def film_strip(poses: Sequence[Pose], labels: Sequence[str], path: str | Path, frames: int = 8) -> Path:
    """Write a strip of `frames` pictures per pose, one pose a row; a column shows the same moment of all rows.

    Raises:
        ValueError: no poses, as many labels as poses not given, `frames` < 1, or a suffix that is not of a still.
    """
    _check(poses, labels, path, STILL_SUFFIXES)
    if frames < 1:
        raise ValueError(f"a film strip needs at least one frame, got {frames}")
    views = scene_views(poses)
    figure = _new_figure(views[:1] * frames, rows=len(poses), height=1.9)
    duration = max(pose.duration_s for pose in poses)
    for row, (pose, label, view) in enumerate(zip(poses, labels, views, strict=True)):
        for column in range(frames):
            ax = figure.axes[row * frames + column]
            moment = (column + 0.5) / frames * duration
            drawing = _Drawing(ax, pose, view)
            if moment < pose.duration_s:
                drawing.show(_frame_at(pose, moment))
            if row == 0:
                ax.set_title(f"{moment:.2f} s", fontsize=7)
            if column == 0:
                ax.set_ylabel(label, fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, facecolor=_BACKGROUND, bbox_inches="tight")
    return Path(path)


def write_animation(poses: Pose | Sequence[Pose], path: str | Path, labels: Sequence[str] | None = None) -> Path:
    """Write poses side by side, in step, as `.gif` (endless) or `.mp4` (H.264), at the highest of their frame rates.

    A GIF counts in hundredths of a second: its frames differ by one such step so that the whole keeps its length, and
    above 50 frames per second some are left out. A clip that ends before the others keeps its last frame.

    Raises:
        ValueError: no poses, as many labels as poses not given, or a suffix that is neither .gif nor .mp4.
    """
    poses = [poses] if isinstance(poses, Pose) else list(poses)
    labels = [""] * len(poses) if labels is None else labels
    _check(poses, labels, path, ANIMATION_SUFFIXES)
    write = _write_gif if Path(path).suffix.lower() == ".gif" else _write_mp4
    fps = max(pose.fps for pose in poses)
    if write is _write_gif:
        fps = min(fps, _FASTEST_GIF)
    count = max(round(max(pose.duration_s for pose in poses) * fps), 1)
    with replacing(path) as temporary:
        write(temporary, _render(poses, labels, [(index + 0.5) / fps for index in range(count)]), fps)
    return Path(path)


class _Drawing:
    """The artists of one skeleton in one axes, so that an animation moves them instead of making them anew."""

    def __init__(self, ax: Axes, pose: Pose, view: View):
        from matplotlib.collections import LineCollection

        skeleton = skeleton_of(pose)
        self.pose = pose
        self.parts = joint_parts(skeleton)
        edges, edge_parts = drawn_edges(skeleton)
        self.hands = {part: list(skeleton.parts[part]) for part in ("left_hand", "right_hand") if skeleton.parts[part]}
        self.bones: list[tuple[np.ndarray, LineCollection]] = []
        self.dots: list[tuple[np.ndarray, PathCollection]] = []
        for index, part in enumerate(PARTS):
            width = {"body": 1.8, "face": 0.6}.get(part, 1.2)
            lines = LineCollection([], colors=COLORS[part], linewidths=width, capstyle="round")
            ax.add_collection(lines)
            self.bones.append((edges[edge_parts == index], lines))
            size = 0.4 if part == "face" else 3.0
            self.dots.append((self.parts == index, ax.scatter([], [], s=size, color=COLORS[part], linewidths=0)))
        self.missing = ax.text(0.02, 0.01, "", transform=ax.transAxes, fontsize=5.5, va="bottom", color="#555555")
        _set_window(ax, view)

    def show(self, frame: int) -> None:
        points = self.pose.values[frame, :, :2]
        seen = ~np.isnan(points[:, 0])
        for edges, lines in self.bones:
            lines.set_segments(points[edges[seen[edges].all(axis=1)]])
        for joints, dots in self.dots:
            dots.set_offsets(points[joints & seen])
        lost = [part.replace("_", " ") for part, joints in self.hands.items() if not seen[joints].any()]
        self.missing.set_text("\n".join(f"{hand} not tracked" for hand in lost))


def _set_window(ax: Axes, view: View) -> None:
    x, y, _ = view.center
    ax.set_xlim(x - view.width / 2, x + view.width / 2)
    ax.set_ylim(y + view.height / 2, y - view.height / 2)  # y points down
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color("#dde2e9")


def _new_figure(views: Sequence[View], *, rows: int, height: float) -> Figure:
    """A figure of `rows` rows of axes (`height` inches each) that have the shapes of `views`."""
    from matplotlib.figure import Figure  # not pyplot: no window, and no list of figures that grows

    widths = [float(np.clip(view.width / view.height, 0.5, 2.0)) for view in views]
    figure = Figure(figsize=(height * sum(widths) + 0.4, (height + 0.15) * rows + 0.3), layout="constrained")
    figure.subplots(rows, len(views), squeeze=False, width_ratios=widths)
    return figure


def _frame_at(pose: Pose, moment: float) -> int:
    return min(int(moment * pose.fps + 1e-6), len(pose) - 1)


def _render(poses: Sequence[Pose], labels: Sequence[str], moments: Sequence[float]) -> Iterator[np.ndarray]:
    """`[height, width, 3]` uint8 of every moment; height and width are even, as video wants them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    views = scene_views(poses)
    figure = _new_figure(views, rows=1, height=3.0)
    canvas = FigureCanvasAgg(figure)
    drawings = [_Drawing(ax, pose, view) for ax, pose, view in zip(figure.axes, poses, views, strict=True)]
    for ax, label in zip(figure.axes, labels, strict=True):
        ax.set_title(label, fontsize=9)
    figure.set_dpi(_DPI)
    figure.set_facecolor(_BACKGROUND)
    for moment in moments:
        for drawing in drawings:
            drawing.show(_frame_at(drawing.pose, moment))
        canvas.draw()
        if moment == moments[0]:
            figure.set_layout_engine("none")  # the places are found once; finding them again would be slow and jumpy
        picture = np.asarray(canvas.buffer_rgba())[..., :3]
        yield picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2].copy()


def _write_gif(path: Path, pictures: Iterator[np.ndarray], fps: float) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(picture).quantize(64) for picture in pictures)
    ends = np.rint(100 / fps * np.arange(len(rest) + 2)).astype(int)
    durations = (10 * np.diff(ends)).tolist()  # milliseconds, multiples of 10
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)


def _write_mp4(path: Path, pictures: Iterator[np.ndarray], fps: float) -> None:
    import av

    with av.open(str(path), mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18"}
        first = next(pictures)
        stream.height, stream.width = first.shape[:2]
        for picture in chain([first], pictures):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _check(poses: Sequence[Pose], labels: Sequence[str], path: str | Path, suffixes: Sequence[str]) -> None:
    if not poses:
        raise ValueError("nothing to draw: got no poses")
    if len(labels) != len(poses):
        raise ValueError(f"expected one label per pose, got {len(labels)} labels for {len(poses)} poses")
    if Path(path).suffix.lower() not in suffixes:
        raise ValueError(f"cannot write {path}: the name must end in {' or '.join(suffixes)}")
