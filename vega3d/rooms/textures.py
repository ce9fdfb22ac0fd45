"""Textures in object coordinates: they stick to the thing from every side.

Decision: a texture is a function of two metres on a surface (in-plane coordinates of a box's face, arc and
height on a round one), so all have a period in metres. Each is evaluated on its own pixels only. Values are
about -1..1 around the base colour; edges are soft and fine patterns fade with distance, so nothing aliases.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vega3d.rooms.table import F32

_TURN = np.float32(2 * np.pi)
Pattern = Callable[[F32, F32], F32]


def evaluate(kind: NDArray[np.int32], a: F32, b: F32) -> F32:
    """(N,) values of texture ``kind`` (N,) at (a, b), each (N,) in periods."""
    value = np.zeros(len(a), dtype=np.float32)
    for number, pattern in enumerate(_PATTERNS, start=1):
        here = np.flatnonzero(kind == number)
        if len(here):
            value[here] = pattern(a[here], b[here])
    return value


def _waves(a: F32, b: F32) -> tuple[F32, F32]:
    return np.sin(a * _TURN), np.sin(b * _TURN)


def _checker(a: F32, b: F32) -> F32:
    x, y = _waves(a, b)
    return np.asarray(np.clip(5 * x, -1, 1) * np.clip(5 * y, -1, 1))


def _stripes(a: F32, b: F32) -> F32:
    return np.asarray(np.clip(3 * np.sin(a * _TURN), -1, 1))


def _noise(a: F32, b: F32) -> F32:
    x, y = _waves(a, b)
    return np.asarray((x * y + np.sin(a * 11 + y) * np.sin(b * 4 + x)) / np.float32(1.5))


def _wood(a: F32, b: F32) -> F32:
    bend = np.sin(a * np.float32(1.3))
    return np.asarray(
        np.float32(0.7) * np.sin(b * 9 + 2 * bend) + np.float32(0.3) * np.sin(b * 23 + 3 * bend)
    )


def _weave(a: F32, b: F32) -> F32:
    x, y = _waves(a, b)
    return np.asarray(np.clip(2 * x * y, -1, 1))


def _dots(a: F32, b: F32) -> F32:
    x, y = _waves(a, b)
    return np.asarray(np.float32(-1.4) * np.clip(6 * (x * y - np.float32(0.35)), 0, 1))


def _veins(a: F32, b: F32) -> F32:
    line = np.abs(np.sin(a * 4 + np.float32(1.7) * np.sin(b * 5) + np.sin(a * 7)))
    return np.asarray(np.float32(0.3) - np.maximum(1 - 3 * line, 0))


def _planks(a: F32, b: F32) -> F32:
    board = np.floor(4 * b)
    tone = np.sin(board * np.float32(12.9) + np.floor(a / 2 + board * np.float32(0.37)) * np.float32(78.2))
    edge = np.abs(4 * b - board - np.float32(0.5)) > np.float32(0.46)
    grain = np.float32(0.25) * np.sin(b * 60 + 2 * np.sin(a * 3))
    return np.asarray(np.where(edge, np.float32(-1), np.float32(0.5) * tone + grain))


def _tiles(a: F32, b: F32) -> F32:
    i, j = np.floor(a), np.floor(b)
    edge = np.maximum(np.abs(a - i - np.float32(0.5)), np.abs(b - j - np.float32(0.5)))
    tone = np.float32(0.25) * np.sin(i * np.float32(12.9) + j * np.float32(78.2))
    return np.where(edge > np.float32(0.47), np.float32(-1), tone)


_PATTERNS: tuple[Pattern, ...] = (
    _checker, _stripes, _noise, _wood, _weave, _dots, _veins, _planks, _tiles,
)  # fmt: skip
"""In the order of TEXTURES, whose first is plain."""
