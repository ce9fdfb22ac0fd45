"""Colour of hit points: texture times light, in one pass over all pixels.

Decision: deferred shading. Every pixel gathers its primitive's row once, so the cost does not grow with the
number of things. Light is Lambert from a few lamps plus an even ambient part; shadows and the darkening of
corners are soft, fall on the floor only, and are computed once a room, from the boxes of the primitives on a
grid of spots; things that move cast none. No highlights, no mirrors, no transparency.

A texture is a function of two metres on a surface (in-plane coordinates of a box's face, arc and height on a
round one), so it sticks to the thing from every side and has a period in metres. Each is evaluated on its own
pixels only. Values are about -1..1 around the base colour; edges are soft and fine patterns fade with
distance, so nothing aliases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry import contains
from vega3d.rooms.raycast import F32, I32, SHELL, Table
from vega3d.rooms.scene import Light, Primitive, Room

Indices = NDArray[np.intp]
_TURN = np.float32(2 * np.pi)
_DIFFUSE, _REACH = np.float32(0.75), np.float32(6.0)
_FINEST = np.float32(3.0)  # pixels a period, below which a texture has faded
_SMALLEST = np.float32(1e-6)  # metres; where a ray meets nothing the footprint is 0
_SPOTS = 56  # spots a side of the floor
_NEAR_FLOOR = 0.3  # metres: lower things darken the corner that they make with the floor
BACKGROUND = 245
"""Gray value where a ray misses the room."""


def shade(
    table: Table, row: I32, points: F32, footprint: F32, room: Room, floor: FloorShade | None
) -> tuple[NDArray[np.uint8], F32]:
    """RGB (N, 3) and unit normals (3, N) of world points (3, N) on the primitives ``row`` (N,).

    ``footprint`` (N,) is the size of a pixel in metres at each point. Row -1 is background.
    """
    x, y, z = (points[i] - table.centre[row, i] for i in range(3))
    c, s = table.cos[row], table.sin[row]
    local = np.stack([x * c + y * s, y * c - x * s, z])  # in the axes of each primitive
    normal, axis, curved = _normals(table, row, local)
    a, b = _in_plane(table, row, local, axis, curved)
    period = table.period[row]
    a, b = (a + table.phase[row, 0]) / period, (b + table.phase[row, 1]) / period
    value = evaluate(table.texture[row], a, b)
    fade = np.clip(period / (np.maximum(footprint, _SMALLEST) * _FINEST) - np.float32(0.5), 0, 1)
    gain = _light(points, normal, room)
    if floor is not None:
        on_floor = np.flatnonzero(row == 4)
        gain[on_floor] *= floor.sample(points[0, on_floor], points[1, on_floor])
    glow = table.glow[row]
    gain = np.where(glow >= 1, glow, gain + glow)  # what shines fully takes no light
    gain *= 1 + table.contrast[row] * fade * value
    rgb = np.minimum(table.colour[row] * gain[:, None], 1) * 255 + np.float32(0.5)
    rgb[row < 0] = BACKGROUND
    return rgb.astype(np.uint8), normal


def _normals(table: Table, row: I32, local: F32) -> tuple[F32, Indices, Indices]:
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


def _in_plane(table: Table, row: I32, local: F32, axis: Indices, curved: Indices) -> tuple[F32, F32]:
    """Two coordinates (N,) in metres on the surface."""
    a = np.where(axis == 0, local[1], local[0])
    b = np.where(axis == 2, local[1], local[2])
    arc = np.arctan2(local[1, curved], local[0, curved]) * table.half[row[curved], 0]
    a[curved], b[curved] = arc, local[2, curved]
    return a, b


def _light(points: F32, normal: F32, room: Room) -> F32:
    """(N,) ambient plus all lamps."""
    gain = np.full(points.shape[1], room.ambient, dtype=np.float32)
    for light in room.lights:
        x, y, z = (np.float32(light.place[i]) - points[i] for i in range(3))
        squared = x * x + y * y + z * z + np.float32(1e-6)
        cosine = np.maximum(normal[0] * x + normal[1] * y + normal[2] * z, 0) / np.sqrt(squared)
        gain += _DIFFUSE * np.float32(light.power) * cosine / (1 + squared / (_REACH * _REACH))
    return gain


def evaluate(kind: I32, a: F32, b: F32) -> F32:
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
    coarse, fine = np.sin(b * 9 + 2 * bend), np.sin(b * 23 + 3 * bend)
    return np.asarray(np.float32(0.7) * coarse + np.float32(0.3) * fine)


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


_PATTERNS = (_checker, _stripes, _noise, _wood, _weave, _dots, _veins, _planks, _tiles)
"""In the order of TEXTURES, whose first is plain."""


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
    lit, full = room.ambient * _crevices(parts, spots), room.ambient
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


def _crevices(parts: list[Primitive], spots: np.ndarray) -> np.ndarray:
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
