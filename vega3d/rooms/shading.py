"""Colour of hit points: texture times light, in one pass over all pixels.

Decision: deferred shading. Every pixel gathers its primitive's row once, so the cost does not grow with the
number of things. Light is Lambert from a few lamps plus an even ambient part; shadows and the darkening of
corners are soft, fall on the floor only, and are computed once a room (shadows.py). No highlights, no
mirrors, no transparency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vega3d.rooms.scene import Light
from vega3d.rooms.shadows import FloorShade
from vega3d.rooms.table import F32, SHELL, Table
from vega3d.rooms.textures import evaluate

_DIFFUSE, _REACH = np.float32(0.75), np.float32(6.0)
_FINEST = np.float32(3.0)  # pixels a period, below which a texture has faded
_SMALLEST = np.float32(1e-6)  # metres; where a ray meets nothing the footprint is 0
BACKGROUND = 245
"""Gray value where a ray misses the room."""


@dataclass(frozen=True)
class Lighting:
    """Lamps, ambient share, and the shade on the floor (None: none)."""

    lights: tuple[Light, ...]
    ambient: float
    floor: FloorShade | None = None


def shade(
    table: Table, row: NDArray[np.int32], points: F32, footprint: F32, lighting: Lighting
) -> tuple[NDArray[np.uint8], F32]:
    """RGB (N, 3) and unit normals (3, N) of world points (3, N) on the primitives ``row`` (N,).

    ``footprint`` (N,) is the size of a pixel in metres at each point. Row -1 is background.
    """
    local = _to_local(table, row, points)
    normal, axis, curved = _normals(table, row, local)
    a, b = _in_plane(table, row, local, axis, curved)
    period = table.period[row]
    value = evaluate(
        table.texture[row], (a + table.phase[row, 0]) / period, (b + table.phase[row, 1]) / period
    )
    fade = np.clip(period / (np.maximum(footprint, _SMALLEST) * _FINEST) - np.float32(0.5), 0, 1)
    gain = _light(points, normal, lighting)
    if lighting.floor is not None:
        on_floor = np.flatnonzero(row == 4)
        gain[on_floor] *= lighting.floor.sample(points[0, on_floor], points[1, on_floor])
    glow = table.glow[row]
    gain = np.where(glow >= 1, glow, gain + glow)  # what shines fully takes no light
    gain *= 1 + table.contrast[row] * fade * value
    rgb = np.minimum(table.colour[row] * gain[:, None], 1) * 255 + np.float32(0.5)
    rgb[row < 0] = BACKGROUND
    return rgb.astype(np.uint8), normal


def _to_local(table: Table, row: NDArray[np.int32], points: F32) -> F32:
    """(3, N) points in the axes of their primitive (of the room, for the shell)."""
    x, y, z = (points[i] - table.centre[row, i] for i in range(3))
    c, s = table.cos[row], table.sin[row]
    return np.stack([x * c + y * s, y * c - x * s, z])


def _normals(
    table: Table, row: NDArray[np.int32], local: F32
) -> tuple[F32, NDArray[np.intp], NDArray[np.intp]]:
    """(3, N) outward unit normals in world axes, the axis (N,) they are along, which points are curved."""
    q = local / table.half[row].T
    axis = np.abs(q).argmax(axis=0)
    normal = np.zeros_like(local)
    n = np.arange(local.shape[1])
    # The shell is seen from inside: its normals point inwards.
    normal[axis, n] = np.sign(q[axis, n]) * np.where(row < SHELL, np.float32(-1), np.float32(1))
    shape = table.shape[row]
    curved = np.flatnonzero(shape > 0)
    side = (shape[curved] == 2) | (np.hypot(q[0, curved], q[1, curved]) >= np.abs(q[2, curved]))
    curved = curved[side]
    flat = np.where(shape[curved] == 2, q[2, curved], 0)
    length = np.sqrt(q[0, curved] ** 2 + q[1, curved] ** 2 + flat**2) + np.float32(1e-9)
    normal[:, curved] = np.stack([q[0, curved], q[1, curved], flat]) / length
    c, s = table.cos[row], table.sin[row]
    world = np.stack([normal[0] * c - normal[1] * s, normal[0] * s + normal[1] * c, normal[2]])
    return world, axis, curved


def _in_plane(
    table: Table, row: NDArray[np.int32], local: F32, axis: NDArray[np.intp], curved: NDArray[np.intp]
) -> tuple[F32, F32]:
    """Two coordinates (N,) in metres on the surface."""
    a = np.where(axis == 0, local[1], local[0])
    b = np.where(axis == 2, local[1], local[2])
    arc = np.arctan2(local[1, curved], local[0, curved]) * table.half[row[curved], 0]
    a[curved], b[curved] = arc, local[2, curved]
    return a, b


def _light(points: F32, normal: F32, lighting: Lighting) -> F32:
    """(N,) ambient plus all lamps."""
    gain = np.full(points.shape[1], lighting.ambient, dtype=np.float32)
    for light in lighting.lights:
        x, y, z = (np.float32(light.place[i]) - points[i] for i in range(3))
        squared = x * x + y * y + z * z + np.float32(1e-6)
        cosine = np.maximum(normal[0] * x + normal[1] * y + normal[2] * z, 0) / np.sqrt(squared)
        gain += _DIFFUSE * np.float32(light.power) * cosine / (1 + squared / (_REACH * _REACH))
    return gain
