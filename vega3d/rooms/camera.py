"""Smooth camera paths through a room, at video rate, in the two ways people film one.

``orbit`` walks an arc along the walls and looks inwards; ``pan`` stands near the middle and turns. A path
is a pure function of the room; the number of frames only says how densely it is sampled. It keeps clear of
all things by their boxes. It knows no pixels and no field of view.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry import contains, look_at
from vega3d.rooms.scene import ROOMS_VERSION, Room

_CLEARANCE = 0.5  # metres between the camera and any box
_ATTEMPTS = 30
_WALL = 0.35  # metres between the camera and any wall


def camera_path(room: Room, frames: int) -> NDArray[np.float64]:
    """(frames, 4, 4) camera-to-world poses along the room's path, first to last."""
    rng = np.random.default_rng([ROOMS_VERSION, room.seed, 1])
    s = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    for attempt in range(_ATTEMPTS):
        # Ever higher, so that the last attempts look over everything.
        height = rng.uniform(1.6, 2.1) if attempt < 20 else min(2.2, room.size[2] - 0.3)
        draw = _orbit if rng.random() < 0.6 else _pan
        state = rng.bit_generator.state
        # Judged on a fixed dense sampling, so that the choice does not depend on the number of frames.
        clear = is_clear(room, draw(rng, room, np.linspace(0, 1, 64), float(height))[:, :3, 3])
        if clear or attempt == _ATTEMPTS - 1:
            rng.bit_generator.state = state
            return draw(rng, room, s, float(height))
    raise AssertionError("unreachable: the last attempt returns")


def is_clear(room: Room, eyes: NDArray[np.float64]) -> bool:
    """Whether no camera centre (frames, 3) comes within the clearance of a thing."""
    return not any(contains(thing.box, eyes, _CLEARANCE).any() for thing in room.instances)


def _orbit(
    rng: np.random.Generator, room: Room, s: NDArray[np.float64], height: float
) -> NDArray[np.float64]:
    """An arc of 100 to 220 degrees on an ellipse just inside the walls, looking at the middle."""
    radius = np.asarray(room.size[:2]) / 2 - _WALL
    start = rng.uniform(0, 2 * np.pi)
    span = np.radians(rng.uniform(100, 220)) * rng.choice([-1, 1])
    angle = start + span * s
    eyes = np.stack([radius[0] * np.cos(angle), radius[1] * np.sin(angle), np.full_like(s, height)], axis=1)
    drift = rng.uniform(-0.4, 0.4, size=2)
    targets = np.stack([drift[0] * (1 - s), drift[1] * s, np.full_like(s, rng.uniform(0.3, 0.7))], axis=1)
    return np.stack([look_at(eye, target) for eye, target in zip(eyes, targets, strict=True)])


def _pan(rng: np.random.Generator, room: Room, s: NDArray[np.float64], height: float) -> NDArray[np.float64]:
    """A turn of 200 to 300 degrees near the middle, with a slow step sideways for parallax."""
    first, last = rng.uniform(-0.12, 0.12, size=(2, 2)) * np.asarray(room.size[:2])
    eyes = np.empty((len(s), 3))
    eyes[:, :2] = first + (last - first) * s[:, None]
    eyes[:, 2] = height
    angle = rng.uniform(0, 2 * np.pi) + np.radians(rng.uniform(200, 300)) * rng.choice([-1, 1]) * s
    pitch = -rng.uniform(0.25, 0.45)
    ahead = np.stack([np.cos(angle), np.sin(angle), np.full_like(s, pitch)], axis=1)
    return np.stack([look_at(eye, eye + step) for eye, step in zip(eyes, ahead, strict=True)])
