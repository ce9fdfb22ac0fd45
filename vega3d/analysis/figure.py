"""A figure of a clip for a paper: columns of frames, and below each what describes it.

Text stays text in PDF and SVG. The figure is as wide as a column or a page, with letters of 7 to 9 points.
matplotlib draws it (``pip install 'vega3d[plots]'``). Without matplotlib there is a plain PNG.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vega3d._utils.files import write_whole
from vega3d._utils.progress import note
from vega3d.analysis.look import Look, Row, Scale
from vega3d.analysis.pictures import SIDE, heat, sheet
from vega3d.errors import ConfigError, DependencyError

FORMATS = ("png", "pdf", "svg")
WIDTHS = {3.3: 4, 6.9: 8}  # inches: most columns
LARGE, MIDDLE, SMALL = 9, 8, 7  # points
POINT = 1 / 72  # inches
LINE = 1.35  # height of a line of text, as a multiple of its size
MARGIN, GAP, BAR = 0.05, 0.04, 0.55  # inches; BAR is the room of a colour bar with its texts
TALLEST, WIDEST = 1.7, 1.7  # inches of one picture
SETTINGS: Any = {
    "font.family": "sans-serif",
    "svg.fonttype": "none",  # text as text
    "pdf.fonttype": 42,
    "svg.hashsalt": "vega3d",  # the same bytes for the same pictures
    "text.parse_math": False,  # a question may hold dollar signs
}
UNDATED: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def write_figure(look: Look, file: Path, width: float = 6.9) -> Path:
    """Write all rows as one figure.

    Args:
        look: the pictures.
        file: its suffix is the format.
        width: in inches.

    Raises:
        ConfigError: the format or the width is unknown.
        DependencyError: matplotlib is not installed, and the format is not ``png``.
    """
    format = file.suffix.removeprefix(".")
    if format not in FORMATS:
        raise ConfigError("Unknown format of a figure.", got=format, expected=", ".join(FORMATS))
    if width not in WIDTHS:
        expected = ", ".join(map(str, WIDTHS))
        raise ConfigError("Invalid width of a figure.", got=width, expected=expected, fix="pass one of them")
    if find_spec("matplotlib") is None:
        return _write_plain(look, file, format)
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        drawing = _Drawing.of(look, width)
        drawing.draw(look)
        dpi = max(300, round(SIDE / drawing.tile[0]))
        save = partial(drawing.figure.savefig, format=format, dpi=dpi, metadata=UNDATED[format])
        return write_whole(file, save)


def _write_plain(look: Look, file: Path, format: str) -> Path:
    """The rows without colour bars, by PIL alone."""
    if format != "png":
        title, fix = f"Missing package matplotlib, which draws {format}.", "pip install 'vega3d[plots]'"
        raise DependencyError(title, got="not installed", expected="matplotlib", fix=fix)
    note("look.png has no colour bars: they need matplotlib (pip install 'vega3d[plots]')")
    titles = [look.note] if look.note else []
    rows = [(row.title, row.pictures) for row in look.rows.values()]
    rows[0] = ("; ".join([*titles, rows[0][0]]), rows[0][1])
    picture = Image.fromarray(sheet(rows))
    return write_whole(file, lambda part: picture.save(part, format="PNG"))


@dataclass
class _Drawing:
    """A matplotlib figure that is filled from the top.

    Attributes:
        figure: of matplotlib.
        size: its width and height in inches.
        tile: width and height of one picture in inches.
        frames: the host's frames that are drawn, one a column.
        top: of what is drawn next, in inches from the top.
    """

    figure: Any
    size: tuple[float, float]
    tile: tuple[float, float]
    frames: list[int]
    top: float = MARGIN

    @classmethod
    def of(cls, look: Look, width: float) -> _Drawing:
        """An empty figure of the right height."""
        from matplotlib.figure import Figure

        frames = _columns(look, WIDTHS[width])
        height, across = look.rows["frame"].pictures[0].shape[:2]
        room = (width - 2 * MARGIN - BAR) / len(frames) - GAP
        tile = min(room, WIDEST, TALLEST * across / height)
        tile_size = (tile, tile * height / across)
        heads = sum(_height(text, size, width) for text, size in _head(look, len(frames)))
        titles = sum(_height(row.title, MIDDLE, width) for row in look.rows.values())
        rows = len(look.rows) * (tile_size[1] + 4 * GAP) + SMALL * LINE * POINT
        size = (width, 2 * MARGIN + heads + 2 * GAP + titles + rows)
        return cls(Figure(figsize=size), size, tile_size, frames)

    def draw(self, look: Look) -> None:
        """Draw texts and rows."""
        for text, points in _head(look, len(self.frames)):
            self._write(text, points)
        self.top += 2 * GAP
        for row in look.rows.values():
            self._write(row.title, MIDDLE)
            if row is look.rows["frame"]:
                self._write_times(look.times)
            self._draw_row(row)

    def _write(self, text: str, points: int) -> None:
        for line in _wrapped(text, points, self.size[0]):
            self._text(MARGIN, self.top, line, points)
            self.top += points * LINE * POINT

    def _write_times(self, times: Sequence[str]) -> None:
        for column, frame in enumerate(self.frames):
            self._text(self._left(column) + self.tile[0] / 2, self.top, times[frame], SMALL, ha="center")
        self.top += SMALL * LINE * POINT

    def _draw_row(self, row: Row) -> None:
        """Each picture below its frames; a line joins the frames that share one."""
        self.top += GAP if max(map(len, row.frames)) > 1 else 0.0
        for picture, described in zip(row.pictures, row.frames, strict=True):
            columns = [self.frames.index(frame) for frame in described if frame in self.frames]
            if not columns:
                continue
            left, right = self._left(columns[0]), self._left(columns[-1]) + self.tile[0]
            axes = self._axes((left + right - self.tile[0]) / 2, self.top + GAP, *self.tile)
            axes.imshow(picture, aspect="auto", interpolation="none")
            axes.set_axis_off()
            if len(columns) > 1:
                self._line(left, right)
        if row.scale is not None:
            self._draw_bar(row.scale)
        self.top += self.tile[1] + 3 * GAP

    def _draw_bar(self, scale: Scale) -> None:
        axes = self._axes(self._left(len(self.frames)) + GAP, self.top + GAP, 0.08, self.tile[1])
        ramp = heat(np.linspace(1, 0, 256, dtype=np.float32)[:, None], 0.0, 1.0)
        axes.imshow(ramp, aspect="auto", extent=(0, 1, 0, 1))
        axes.set_xticks([])
        axes.yaxis.tick_right()
        ticks = scale.ticks if self.tile[1] > 0.5 else (scale.ticks[0], scale.ticks[-1])
        places = [float(scale.places(np.asarray(value))) for value, _ in ticks]
        axes.set_yticks(places, [text for _, text in ticks], fontsize=SMALL)
        axes.tick_params(length=2, width=0.5, pad=1)
        axes.spines[:].set_linewidth(0.5)

    def _left(self, column: int) -> float:
        return MARGIN + column * (self.tile[0] + GAP)

    def _axes(self, left: float, top: float, width: float, height: float) -> Any:
        across, down = self.size
        return self.figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def _text(self, left: float, top: float, text: str, points: int, **options: Any) -> None:
        across, down = self.size
        self.figure.text(left / across, 1 - top / down, text, fontsize=points, va="top", **options)

    def _line(self, left: float, right: float) -> None:
        from matplotlib.lines import Line2D

        across, down = self.size
        ends, height = (left / across, right / across), 1 - self.top / down
        self.figure.add_artist(Line2D(ends, (height, height), color="0.3", linewidth=0.7))


def _columns(look: Look, most: int) -> list[int]:
    """The frames that fit, evenly spaced; whole time steps where they fit."""
    groups = max((row.frames for row in look.rows.values()), key=lambda links: max(map(len, links)))
    count = max(1, most // max(map(len, groups)))
    places = np.linspace(0, len(groups) - 1, min(count, len(groups))).round().astype(int)
    return [frame for place in places for frame in groups[place]][:most]


def _head(look: Look, columns: int) -> list[tuple[str, int]]:
    """Lines above the rows, with their sizes."""
    about, frames = look.about, len(look.rows["frame"].pictures)
    some = f"{columns} of {frames} frames" if columns < frames else ""
    lines = [
        (", ".join(text for text in (about.video, some) if text), LARGE),
        (f"question: {about.question}" if about.question else "", MIDDLE),
        (f"answer of {about.model or 'the model'}: {about.answer}" if about.question else "", MIDDLE),
        (look.note, MIDDLE),
    ]
    return [(text, points) for text, points in lines if text]


def _wrapped(text: str, points: int, width: float) -> list[str]:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    text = " ".join(text.split())
    size, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)
    letters = 0.88 * len(text) * (width - 2 * MARGIN) / max(size * POINT, 1e-6)  # lines differ a little
    return textwrap.wrap(text, max(8, int(letters)), max_lines=4, placeholder=" …") or [""]


def _height(text: str, points: int, width: float) -> float:
    return len(_wrapped(text, points, width)) * points * LINE * POINT
