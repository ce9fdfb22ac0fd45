"""Smooth camera paths through a room, in the ways people film one, with or without a shaking hand.

``orbit`` walks an arc along the walls and looks inwards; ``pan`` stands near the middle and turns; ``walk``
goes through free space from spot to spot and looks about. A path is a pure function of the room; the number
of frames only sets how densely it is sampled. It keeps clear of all things by their boxes. Poses are rounded
to a nanometre, so that pixels do not depend on a machine's cosine. This module does not depend on pixels and
field of view.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vega3d.errors import unknown_choice
from vega3d.geometry import contains, look_at
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Room

Style = Literal["orbit", "pan", "walk"]
F64 = NDArray[np.float64]
Rail = Callable[[F64], tuple[F64, F64]]
"""Shares of the clip (T,) -> eyes (T, 3) and what they look at (T, 3)."""

_CLEARANCE = 0.35  # metres between the camera and any box
_WALL = 0.35  # metres between the camera and any wall
_ATTEMPTS = 40
_DENSE = np.linspace(0, 1, 64)
_TREMOR, _TREMBLE = 0.006, math.radians(0.5)  # metres and radians of a shaking hand, four waves each


def camera_path(room: Room, frames: int, *, style: Style | None = None, shake: bool | None = None) -> F64:
    """(frames, 4, 4) camera-to-world poses along the room's path, first to last.

    Args:
        room: the room that is filmed.
        frames: how many poses.
        style: one of the three ways; None is the room's own.
        shake: True for a hand's tremor; None: four rooms in ten have it.
    """
    if style is not None and style not in get_args(Style):
        raise unknown_choice("camera style", style, get_args(Style))
    rng = Rng(room.version, room.seed, 1)
    drawn, shaky = rng.real(), rng.chance(0.4)
    rail = _clear_rail(rng, room, style or ("orbit" if drawn < 0.45 else "walk" if drawn < 0.8 else "pan"))
    s = np.linspace(0, 1, frames)
    eyes, targets = rail(s)
    if shaky if shake is None else shake:
        eyes, targets = _shaken(rng, s, eyes, targets)
    poses = [look_at(eye, target) for eye, target in zip(eyes, targets, strict=True)]
    return np.stack(poses).astype(np.float64).round(9)


def is_clear(room: Room, eyes: F64, clearance: float = _CLEARANCE) -> bool:
    """True if no camera centre (frames, 3) comes within the clearance of a thing, wherever that moves."""
    stages = [room.at(when) for when in (0.0, 0.25, 0.5, 0.75, 1.0)] if room.moves else [room]
    return not any(contains(t.box, eyes, clearance).any() for stage in stages for t in stage.instances)


def _clear_rail(rng: Rng, room: Room, style: str) -> Rail:
    """The first rail of many that is clear; judged on a fixed dense sampling, whatever the frames."""
    draw = {"orbit": _orbit, "pan": _pan, "walk": _walk}[style]
    top = room.size[2] - 0.3
    for attempt in range(_ATTEMPTS):
        # Ever higher, so that the last attempts look over everything.
        height = rng.real(1.35, 1.75) if attempt < _ATTEMPTS // 2 else rng.real(1.7, top)
        rail = draw(rng, room, min(height, top))
        if is_clear(room, rail(_DENSE)[0]):
            return rail
    # A crowded room: from near the ceiling, above whatever stands there.
    return _pan(rng, room, top)


def _orbit(rng: Rng, room: Room, height: float) -> Rail:
    """An arc of 100 to 200 degrees on an ellipse just inside the walls, looking past the middle."""
    radius = np.asarray(room.size[:2]) / 2 - _WALL - rng.real(0, 0.25) * min(room.size[:2]) / 2
    start, span = rng.real(0, 2 * math.pi), math.radians(rng.real(100, 200)) * rng.pick((-1, 1))
    first, last = (np.array([rng.real(-0.4, 0.4), rng.real(-0.4, 0.4), rng.real(0.4, 0.9)]) for _ in range(2))

    def rail(s: F64) -> tuple[F64, F64]:
        angle = start + span * s
        eyes = np.stack([radius[0] * np.cos(angle), radius[1] * np.sin(angle), np.full_like(s, height)], 1)
        return eyes, first + (last - first) * s[:, None]

    return rail


def _pan(rng: Rng, room: Room, height: float) -> Rail:
    """A turn of 200 to 320 degrees near the middle, with a slow step sideways for parallax."""
    reach = 0.12 * np.asarray(room.size[:2])
    first, last = (np.array([rng.real(-1, 1), rng.real(-1, 1)]) * reach for _ in range(2))
    start, span = rng.real(0, 2 * math.pi), math.radians(rng.real(200, 320)) * rng.pick((-1, 1))
    pitch = -rng.real(0.2, 0.5)

    def rail(s: F64) -> tuple[F64, F64]:
        eyes = np.concatenate([first + (last - first) * s[:, None], np.full((len(s), 1), height)], axis=1)
        return eyes, eyes + _ahead(start + span * s, pitch)

    return rail


def _walk(rng: Rng, room: Room, height: float) -> Rail:
    """From spot to spot on a smooth curve, the eyes ahead of the feet and sweeping from side to side."""
    half = np.asarray(room.size[:2]) / 2 - _WALL - 0.1
    angle, turn = rng.real(0, 2 * math.pi), rng.pick((-1, 1)) * math.radians(rng.real(40, 70))
    corners = [np.array([math.cos(angle + turn * i), math.sin(angle + turn * i)]) * half for i in range(4)]
    spots = np.array([corner * rng.real(0.3, 0.8) for corner in corners])
    beyond = -spots.mean(axis=0)
    sweep, pitch, waves = math.radians(rng.real(20, 45)), rng.real(0.25, 0.5), rng.real(0.6, 1.2)

    def rail(s: F64) -> tuple[F64, F64]:
        eyes = np.concatenate([_bezier(spots, s), np.full((len(s), 1), height)], axis=1)
        # Past the middle to the other side, so that walls are not all one sees.
        ahead = beyond - eyes[:, :2]
        heading = np.arctan2(ahead[:, 1], ahead[:, 0]) + sweep * np.sin(2 * np.pi * waves * s)
        return eyes, eyes + _ahead(heading, -pitch)

    return rail


def _ahead(heading: F64, pitch: float) -> F64:
    """(T, 3) directions of these headings (T,), at one rise."""
    return np.stack([np.cos(heading), np.sin(heading), np.full_like(heading, pitch)], axis=1)


def _bezier(spots: F64, s: F64) -> F64:
    """(T, 2) points of the cubic Bezier curve of four spots (4, 2)."""
    u = s[:, None]
    a, b, c, d = spots
    return np.asarray((1 - u) ** 3 * a + 3 * u * (1 - u) ** 2 * b + 3 * u**2 * (1 - u) * c + u**3 * d)


def _shaken(rng: Rng, s: F64, eyes: F64, targets: F64) -> tuple[F64, F64]:
    """Add the tremor: sums of four waves of 3 to 15 periods a clip."""

    def tremor() -> F64:
        waves = [(rng.real(3, 15), rng.real(0, 2 * math.pi)) for _ in range(4)]
        return np.asarray(sum(np.sin(2 * np.pi * rate * s + phase) for rate, phase in waves)) / 2

    moved = eyes + _TREMOR * np.stack([tremor() for _ in range(3)], axis=1)
    reach = np.linalg.norm(targets - eyes, axis=1)[:, None]
    swing = _TREMBLE * reach * np.stack([tremor() for _ in range(3)], axis=1)
    return moved, targets + swing
