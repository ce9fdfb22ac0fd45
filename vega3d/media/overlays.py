"""Points and boxes drawn on a picture, as data sets such as SPAR refer to things.

A mark is part of a request, not of a file: many questions about one picture have different marks. The setting
``Vega3DConfig.marks`` decides if the generator gets them too, because then its features differ from mark to
mark and cannot be shared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from vega3d.errors import InputError

SHAPES = {"point": 2, "box": 4}
"""Number of coordinates of each shape: x, y; or left, top, right, bottom."""
UNITS = ("pixels", "thousandths")
FARTHEST = 10**6  # coordinate; Pillow draws every pixel of a line, seen or not


@dataclass(frozen=True)
class Mark:
    """One thing to draw.

    Attributes:
        shape: ``point`` or ``box``.
        at: (x, y), or (left, top, right, bottom).
        colour: a name or ``#rrggbb``.
        unit: of ``at``: ``pixels`` of the decoded picture, or ``thousandths`` of its width and height.
    """

    shape: str
    at: tuple[float, ...]
    colour: str = "red"
    unit: str = "pixels"

    def to_dict(self) -> dict[str, Any]:
        """The mark as an entry of a message."""
        stated = {} if self.unit == UNITS[0] else {"unit": self.unit}
        return {self.shape: list(self.at), "colour": self.colour, **stated}

    def place(self, width: int, height: int) -> tuple[float, ...]:
        """``at`` in pixels of a picture of this size."""
        if self.unit == UNITS[0]:
            return self.at
        return tuple(value * (height if odd % 2 else width) / 1000 for odd, value in enumerate(self.at))


Marks = tuple[Mark, ...]


def parse_marks(entries: Any) -> Marks:
    """Marks of a media entry: ``[{"point": [x, y], "colour": "red"}, {"box": [l, t, r, b]}]``."""
    if entries is not None and not isinstance(entries, (list, tuple)):
        raise _bad_mark(entries)
    return tuple(entry if isinstance(entry, Mark) else _parsed(entry) for entry in entries or ())


def draw(picture: Tensor, marks: Sequence[Mark]) -> Tensor:
    """A copy of a picture, uint8 (3, H, W), with marks on it; sizes follow the picture's."""
    if not marks:
        return picture
    image = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
    pen, brush = ImageDraw.Draw(image), max(1, round(min(image.size) / 120))
    for mark in marks:
        corners = mark.place(*image.size)
        if mark.shape == "box":
            pen.rectangle(corners, outline=mark.colour, width=brush)
        else:
            x, y = corners
            pen.ellipse((x - 2 * brush, y - 2 * brush, x + 2 * brush, y + 2 * brush), fill=mark.colour)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def identify_drawn(media: str, marks: Sequence[Mark]) -> str:
    """Identity of a medium with marks on it; without marks it is its own."""
    if not marks:
        return media
    text = json.dumps([media, [mark.to_dict() for mark in marks]])
    return "drawn:" + hashlib.sha256(text.encode()).hexdigest()


def _parsed(entry: Any) -> Mark:
    if not isinstance(entry, Mapping) or not set(entry) <= {*SHAPES, "colour", "unit"}:
        raise _bad_mark(entry)
    entry = {key: value for key, value in entry.items() if value is not None}  # as tables have absent keys
    shapes = [shape for shape in SHAPES if shape in entry]
    colour, unit = entry.get("colour", "red"), entry.get("unit", UNITS[0])
    if len(shapes) != 1 or unit not in UNITS or not _is_colour(colour):
        raise _bad_mark(entry)
    shape, corners = shapes[0], entry[shapes[0]]
    if (
        not isinstance(corners, (list, tuple))
        or len(corners) != SHAPES[shape]
        or not all(map(_is_near, corners))
    ):
        raise _bad_mark(entry)
    if shape == "box" and not (corners[0] <= corners[2] and corners[1] <= corners[3]):
        raise _bad_mark(entry)
    return Mark(shape, tuple(map(float, corners)), colour, unit)


def _is_near(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= FARTHEST


def _is_colour(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ImageColor.getrgb(value))
    except ValueError:
        return False


def _bad_mark(entry: Any) -> InputError:
    expected = 'a list of {"point": [x, y]} or {"box": [left, top, right, bottom]}, each with a "colour"'
    fix = 'give pixels of the decoded picture (or "unit": "thousandths"), and a colour that Pillow accepts'
    return InputError(f"Cannot draw {str(entry)[:80]} on a picture.", got=entry, expected=expected, fix=fix)
