"""Colour of hit points: texture in object coordinates times Lambert light, in one pass over all pixels.

Decision: deferred shading. Every pixel gathers its primitive's row once, so the cost does not grow with the
number of things. Textures live in object coordinates (they stick to the thing from every side) and are low
in frequency, so that they survive being resized. No shadows, no highlights, no transparency.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vega3d.rooms.raycast import F32, Table

_SHELL_NORMALS = np.array(
    [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=np.float32
)
_AMBIENT, _DIFFUSE, _REACH = np.float32(0.5), np.float32(0.75), np.float32(6.0)


def shade(
    table: Table, row: NDArray[np.int32], points: F32, light: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """RGB (N, 3) of world points (N, 3) on the primitives ``row`` (N,)."""
    local = _to_local(table, row, points)
    normal = _normals(table, row, local)
    albedo = table.colour[row] * (1 + table.contrast[row] * _texture(table, row, local))[:, None]
    to_light = np.array(light, dtype=np.float32) - points
    distance = np.sqrt(np.einsum("nc,nc->n", to_light, to_light)) + np.float32(1e-6)
    lambert = np.maximum(np.einsum("nc,nc->n", normal, to_light) / distance, 0)
    gain = _AMBIENT + _DIFFUSE * lambert / (1 + (distance / _REACH) ** 2)
    rgb: NDArray[np.uint8] = (np.minimum(albedo * gain[:, None], 1) * 255 + np.float32(0.5)).astype(np.uint8)
    return rgb


def _to_local(table: Table, row: NDArray[np.int32], points: F32) -> F32:
    """(N, 3) points in the axes of their primitive (of the room, for the shell)."""
    local = points - table.centre[row]
    c, s = table.cos[row], table.sin[row]
    x = local[:, 0] * c + local[:, 1] * s
    local[:, 1] = local[:, 1] * c - local[:, 0] * s
    local[:, 0] = x
    return local


def _normals(table: Table, row: NDArray[np.int32], local: F32) -> F32:
    """(N, 3) outward unit normals in world axes."""
    q = local / table.half[row]
    axis = np.abs(q).argmax(axis=1)
    normal = np.zeros_like(local)
    n = np.arange(len(local))
    normal[n, axis] = np.sign(q[n, axis])
    side = np.flatnonzero(table.is_cylinder[row])
    side = side[np.hypot(q[side, 0], q[side, 1]) >= np.abs(q[side, 2])]
    normal[side] = np.stack([q[side, 0], q[side, 1], np.zeros(len(side), np.float32)], axis=1)
    c, s = table.cos[row], table.sin[row]
    world = np.stack(
        [normal[:, 0] * c - normal[:, 1] * s, normal[:, 0] * s + normal[:, 1] * c, normal[:, 2]], axis=1
    )
    shell = row < 6
    world[shell] = _SHELL_NORMALS[row[shell]]
    return np.asarray(world, dtype=np.float32)


def _texture(table: Table, row: NDArray[np.int32], local: F32) -> F32:
    """(N,) texture value in -1..1; the four kinds in the order of scene.TEXTURES."""
    wave = np.sin((local + table.phase[row]) * table.frequency[row][:, None])  # (N, 3)
    x, y, z = wave[:, 0], wave[:, 1], wave[:, 2]
    sharp = np.clip(4 * wave, -1, 1)  # soft edges, so that a checker does not alias
    kind = table.texture[row]
    value = np.where(kind == 1, sharp[:, 0] * sharp[:, 1] * sharp[:, 2], 0)
    # Stripes run across x + z, so that floors (constant z) and walls both show them.
    value = np.where(kind == 2, np.clip(2 * (x + z), -1, 1), value)
    return np.asarray(np.where(kind == 3, (x * y + y * z + z * x) / 1.5, value), dtype=np.float32)
