"""Soft shade on the floor: which lamps a spot sees, and how near it is to things that stand there.

Decision: computed once a room on a grid of spots, from the boxes of the primitives, then looked up for
every pixel of the floor. Walls and things get no cast shadows. Things that move cast none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vega3d.geometry import contains
from vega3d.rooms.scene import Light, Primitive, Room
from vega3d.rooms.table import F32

_SPOTS = 56  # spots a side of the floor
_NEAR_FLOOR = 0.3  # metres: lower things darken the corner that they make with the floor


@dataclass(frozen=True)
class FloorShade:
    """Gain (n, n) over the floor, rows along y, columns along x; ``half`` (2,) metres from the middle."""

    gain: F32
    half: F32

    def sample(self, x: F32, y: F32) -> F32:
        """Bilinear gain (N,) at floor points in metres."""
        n = self.gain.shape[0]
        u = np.clip((x / self.half[0] + 1) * (n / 2) - np.float32(0.5), 0, n - np.float32(1.001))
        v = np.clip((y / self.half[1] + 1) * (n / 2) - np.float32(0.5), 0, n - np.float32(1.001))
        i, j = u.astype(np.int32), v.astype(np.int32)
        u, v = u - i, v - j
        flat, at = self.gain.ravel(), j * n + i
        top = flat[at] * (1 - u) + flat[at + 1] * u
        bottom = flat[at + n] * (1 - u) + flat[at + n + 1] * u
        return np.asarray(top * (1 - v) + bottom * v, dtype=np.float32)


def floor_shade(room: Room) -> FloorShade | None:
    """The shade on the floor of a room, None where the room has no shadows."""
    if not room.shadows:
        return None
    half = np.array(room.size[:2]) / 2
    line = (np.arange(_SPOTS) + 0.5) / _SPOTS * 2 - 1
    x, y = np.meshgrid(line * half[0], line * half[1])
    spots = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    parts = [p for t in room.instances if t.motion is None for p in t.primitives if min(p.box.size) > 0.012]
    lit, full = room.ambient * _corners(parts, spots), room.ambient
    for light in room.lights:
        strength = 0.6 * light.power
        seen = np.ones(len(spots))
        for part in parts:
            seen *= ~_blocks(part, spots, light)
        lit, full = lit + strength * _blur(seen.reshape(x.shape), 1).ravel(), full + strength
    return FloorShade((lit / full).reshape(x.shape).astype(np.float32), half.astype(np.float32))


def _blocks(part: Primitive, spots: np.ndarray, light: Light) -> np.ndarray:
    """Mask (N,) of the spots (N, 3) that a primitive's box hides from a lamp."""
    box = part.box
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    o, d = spots - np.asarray(box.centre), np.asarray(light.place) - spots
    enter, leave = np.zeros(len(spots)), np.ones(len(spots))
    turned = (
        (o[:, 0] * c + o[:, 1] * s, d[:, 0] * c + d[:, 1] * s),
        (o[:, 1] * c - o[:, 0] * s, d[:, 1] * c - d[:, 0] * s),
        (o[:, 2], d[:, 2]),
    )
    for (start, step), size in zip(turned, box.size, strict=True):
        inverse = 1 / np.where(np.abs(step) < 1e-9, 1e-9, step)
        one, other = (-size / 2 - start) * inverse, (size / 2 - start) * inverse
        enter, leave = np.maximum(enter, np.minimum(one, other)), np.minimum(leave, np.maximum(one, other))
    return np.asarray(enter < leave)


def _corners(parts: list[Primitive], spots: np.ndarray) -> np.ndarray:
    """(N,) how much of the ambient light is left beside what stands on the floor."""
    covered = np.zeros(len(spots))
    for part in parts:
        low = part.box.z_range[0]
        if low < _NEAR_FLOOR:
            at_height = spots + np.array([0, 0, low + 1e-6])
            covered = np.maximum(covered, contains(part.box, at_height) * (1 - low / _NEAR_FLOOR))
    return np.asarray(1 - 0.65 * _blur(covered.reshape(_SPOTS, _SPOTS), 2).ravel())


def _blur(grid: np.ndarray, times: int) -> np.ndarray:
    """A 3x3 mean, repeated."""
    for _ in range(times):
        padded = np.pad(grid, 1, mode="edge")
        rows, columns = grid.shape
        shifted = [padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
        grid = np.mean(shifted, axis=0)
    return grid
