"""SPAR's own field for what its questions point at, as marks of the pictures.

A row has ``spar_info``, JSON such as ``{"red_point": [[395, 89]], "blue_point": [[494, 620]],
"point_img_idx": [[0, 2]], "type": ...}`` (the README of LaVi-Lab/VG-LLM shows one). Neither there nor in the
data is it documented whether coordinates are pixels or thousandths of the picture, nor whether
``point_img_idx`` follows the order of the keys or that of the colours. Two public readers of the data differ
in the second. So nothing is guessed: the settings state both, after a look at a few pictures. Until then a
row with marks is refused. Without marks its question would point at nothing.

This module opens no media.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vega3d.data.conversations import Messages
from vega3d.errors import InputError

FIELD = "spar_info"
SHAPES = {"point": "point", "bbox": "box"}
COLOURS = ("red", "green", "blue", "yellow")


@dataclass(frozen=True)
class SparMarks:
    """Meaning of the numbers of ``spar_info``.

    Attributes:
        unit: of coordinates.
        order: ``keys``: the n-th index belongs to the n-th key of that shape in the record; ``colours``: to
            the n-th colour that there is of red, green, blue, yellow.
    """

    unit: Literal["pixels", "thousandths"]
    order: Literal["keys", "colours"]


def with_marks(messages: Messages, record: Any, settings: SparMarks | None) -> Messages:
    """Give the pictures of a conversation the marks of its record, if it has any.

    Args:
        messages: of the record, as ``messages_of`` makes them anew; its pictures are changed.
        record: as the file holds it.
        settings: None refuses a record with marks.
    """
    info = _info(record)
    if not any(key.endswith(tuple(f"_{shape}" for shape in SHAPES)) for key in info):
        return messages
    if settings is None:
        title = f"Missing setting 'spar': the row has marks in {FIELD!r}."
        expected = "spar: {unit: pixels or thousandths, order: keys or colours} beside the file"
        fix = "draw a few rows both ways, and set the one that hits what the question names"
        raise InputError(title, got=f"{FIELD} with {', '.join(sorted(info))}", expected=expected, fix=fix)
    pictures = [
        entry
        for message in messages
        if isinstance(message["content"], list)
        for entry in message["content"]
        if isinstance(entry, dict) and entry.get("type") == "image"
    ]
    for ending, shape in SHAPES.items():
        for number, mark in _of_shape(info, ending, shape, settings):
            if not 0 <= number < len(pictures):
                raise _bad(f"marks on picture {number} of {len(pictures)}")
            pictures[number].setdefault("marks", []).append(mark)
    return messages


def _info(record: Any) -> dict[str, Any]:
    value = record.get(FIELD) if isinstance(record, Mapping) else None
    try:
        info = json.loads(value or "null") if isinstance(value, str) else value
    except ValueError as error:
        raise _bad(f"{error}") from error
    if info is not None and not isinstance(info, Mapping):
        raise _bad(type(info).__name__)
    return {key: value for key, value in (info or {}).items() if value}


def _of_shape(
    info: Mapping[str, Any], ending: str, shape: str, settings: SparMarks
) -> list[tuple[int, dict[str, Any]]]:
    """For each mark of a shape the number of its picture, and the mark as a message has it."""
    keys = [key for key in info if key.endswith(f"_{ending}")]
    if unknown := [key for key in keys if key.removesuffix(f"_{ending}") not in COLOURS]:
        raise _bad(f"the colour of {unknown[0]!r}")
    if settings.order == "colours":
        keys.sort(key=lambda key: COLOURS.index(key.removesuffix(f"_{ending}")))
    numbers = _flat(info.get(f"{ending}_img_idx", [[0] * len(keys)]))
    if len(numbers) < len(keys) or not all(isinstance(one, int) for one in numbers[: len(keys)]):
        raise _bad(f"{len(keys)} marks for {ending}_img_idx={numbers}")
    return [
        (number, {shape: coordinates, "colour": key.removesuffix(f"_{ending}"), "unit": settings.unit})
        for key, number in zip(keys, numbers, strict=False)
        for coordinates in info[key]
    ]


def _flat(values: Any) -> list[Any]:
    nested = isinstance(values, Sequence) and len(values) == 1 and isinstance(values[0], Sequence)
    return list(values[0] if nested else values)


def _bad(got: str) -> InputError:
    expected = '{"red_point": [[x, y]], "blue_bbox": [[l, t, r, b]], "point_img_idx": [[picture]], ...}'
    fix = "correct the row, or leave the field out if its question needs no marks"
    return InputError(f"Invalid field {FIELD!r}.", got=got, expected=expected, fix=fix)
