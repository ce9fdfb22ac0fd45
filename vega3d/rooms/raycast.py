"""Analytic ray casting of boxes, upright cylinders and spheres in numpy: depth and which primitive.

Decision: one pass a primitive, only over the screen rectangle that its box covers, into a depth buffer;
what the primitives of one thing share (its turned rays) is computed once a thing. That is exact (no meshes,
no tessellation) and fast because most primitives are small on screen. Rays have z = 1 in camera axes, so the
ray parameter *is* the z-depth. Only +, -, *, / and square roots of float32 arrays are used, which IEEE 754
rounds alike everywhere: ids and depth are the same on every machine. Colour is shading.py's affair.

A room is a table of arrays, one row a primitive. Rows 0..5 are the shell (-x, +x, -y, +y wall, floor,
ceiling), which hold the room's own box, seen from inside. The rest are the things' primitives in order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vega3d.geometry import Array, OrientedBox, corners
from vega3d.rooms.scene import Room

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
Window = tuple[slice, slice]
Offset = tuple[np.float32, ...]
_NEAR = np.float32(0.02)  # metres
# (12, 2) corners of a box that an edge joins
_EDGES = np.array([(i, i | bit) for bit in (1, 2, 4) for i in range(8) if not i & bit])
SHAPES = ("box", "cylinder", "sphere")
SHELL = 6


@dataclass(frozen=True, eq=False)
class Table:
    """All primitives of a room over P rows (shell first).

    Attributes:
        groups: rows (first, last + 1) of each thing: one yaw each.
        instance: (P,) instance id, 0 for the shell.
        shape: (P,) index into SHAPES.
        centre, half: (P, 3) centres and half sizes in metres.
        cos, sin: (P,) of the yaw.
        corners: (P, 8, 3) corners of the boxes; NaN for the shell, which is behind every camera.
        colour: (P, 3) base RGB in 0..1.
        texture: (P,) index into scene.TEXTURES; surfaces without contrast are plain.
        period, contrast, glow: (P,) metres of the texture, its contrast, light of its own.
        phase: (P, 2) phase of the texture in metres.
    """

    groups: tuple[tuple[int, int], ...]
    instance: I32
    shape: I32
    centre: F32
    half: F32
    cos: F32
    sin: F32
    corners: NDArray[np.floating]
    colour: F32
    texture: I32
    period: F32
    contrast: F32
    glow: F32
    phase: F32


def tabulate(room: Room) -> Table:
    """The room's primitives as one table, shell first."""
    primitives = [part for thing in room.instances for part in thing.primitives]
    surfaces = [room.walls] * 4 + [room.floor, room.ceiling] + [part.surface for part in primitives]
    boxes = [OrientedBox((0.0, 0.0, room.size[2] / 2), room.size)] * SHELL + [p.box for p in primitives]
    instance = [0] * SHELL + [thing.id for thing in room.instances for _ in thing.primitives]
    ends = accumulate((len(thing.primitives) for thing in room.instances), initial=SHELL)
    outside = np.full((SHELL, 8, 3), np.nan)
    return Table(
        groups=tuple(pairwise(ends)),
        instance=np.array(instance, dtype=np.int32),
        shape=np.array([0] * SHELL + [SHAPES.index(part.shape) for part in primitives], dtype=np.int32),
        centre=_floats([box.centre for box in boxes]),
        half=_floats([box.size for box in boxes]) / np.float32(2),
        cos=_floats([math.cos(box.yaw) for box in boxes]),
        sin=_floats([math.sin(box.yaw) for box in boxes]),
        corners=np.stack([*outside, *(corners(part.box) for part in primitives)]),
        colour=_floats([surface.colour for surface in surfaces]),
        texture=np.array([s.texture if s.contrast else 0 for s in surfaces], dtype=np.int32),
        period=_floats([surface.period for surface in surfaces]),
        contrast=_floats([surface.contrast for surface in surfaces]),
        glow=_floats([surface.glow for surface in surfaces]),
        phase=_floats([surface.phase[:2] for surface in surfaces]),
    )


def _floats(values: ArrayLike) -> F32:
    return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True)
class Rays:
    """World rays of a picture: ``d`` (3, H, W) directions with camera z = 1, from ``eye`` (3,)."""

    d: F32
    eye: F32


def camera_rays(K: Array, pose: Array, height: int, width: int) -> Rays:
    """Rays through the pixel centres; without a matrix product, whose sums differ between machines."""
    u = ((np.arange(width) + 0.5 - K[0, 2]) / K[0, 0]).astype(np.float32)
    v = ((np.arange(height) + 0.5 - K[1, 2]) / K[1, 1]).astype(np.float32)
    turn = pose[:3, :3].astype(np.float32)
    d = np.empty((3, height, width), dtype=np.float32)
    for axis in range(3):
        np.add(turn[axis, 0] * u[None, :], (turn[axis, 1] * v + turn[axis, 2])[:, None], out=d[axis])
    return Rays(d, pose[:3, 3].astype(np.float32))


def cast(table: Table, rays: Rays, K: Array, pose: Array) -> tuple[F32, I32]:
    """z-depth (H, W) in metres and row of the table (H, W) of what each ray meets first.

    From outside the room its near walls are cut away; a ray that misses the room has infinite depth, row -1.
    """
    depth, row = _shell(table, rays)
    height, width = depth.shape
    left, top, right, bottom, nearest = _windows(table, K, pose, height, width)
    for first, last in table.groups:
        mine = np.arange(first, last)
        mine = mine[(right[first:last] > left[first:last]) & (bottom[first:last] > top[first:last])]
        if len(mine) == 0:
            continue
        y0, x0, y1, x1 = top[mine].min(), left[mine].min(), bottom[mine].max(), right[mine].max()
        turned = _Turned(table, first, rays, (slice(y0, y1), slice(x0, x1)))
        for index in mine:
            window = (slice(top[index], bottom[index]), slice(left[index], right[index]))
            before = depth[window]
            if nearest[index] >= before.max():
                continue  # all of it is hidden
            inner = (slice(top[index] - y0, bottom[index] - y0), slice(left[index] - x0, right[index] - x0))
            t = turned.hit(int(index), inner)
            closer = t < before
            np.copyto(before, t, where=closer)
            np.copyto(row[window], np.int32(index), where=closer)
    return depth, row


def _shell(table: Table, rays: Rays) -> tuple[F32, I32]:
    """Exits of rays from the room: depth (H, W) and row 0..5."""
    low, high = -table.half[0], table.half[0]
    eye = rays.eye - table.centre[0]
    leave, enter = [], []
    for axis in range(3):
        d = _away_from_zero(rays.d[axis])
        leave.append(np.where(d > 0, high[axis] - eye[axis], low[axis] - eye[axis]) / d)
        enter.append(np.where(d > 0, low[axis] - eye[axis], high[axis] - eye[axis]) / d)
    depth = np.minimum(np.minimum(leave[0], leave[1]), leave[2])
    row = np.where(rays.d[2] > 0, np.int32(5), np.int32(4))
    row = np.where(depth == leave[1], np.where(rays.d[1] > 0, np.int32(3), np.int32(2)), row)
    row = np.where(depth == leave[0], np.where(rays.d[0] > 0, np.int32(1), np.int32(0)), row)
    if (np.abs(eye) > high).any():
        missed = (np.maximum(np.maximum(enter[0], enter[1]), enter[2]) > depth) | (depth <= 0)
        depth, row = np.where(missed, np.float32(np.inf), depth), np.where(missed, np.int32(-1), row)
    return depth, row


def _windows(table: Table, K: Array, pose: Array, height: int, width: int) -> tuple[NDArray[np.intp], ...]:
    """Screen rectangles (left, top, right, bottom) of all rows of the table, and their nearest depth.

    Boxes that cross the camera's plane are clipped there, edge by edge.
    """
    camera = (table.corners - pose[:3, 3]) @ pose[:3, :3]  # (P, 8, 3)
    a, b = camera[:, _EDGES[:, 0]], camera[:, _EDGES[:, 1]]  # (P, 12, 3)
    near = float(_NEAR)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        along = (near - a[..., 2]) / (b[..., 2] - a[..., 2])
        cut = a + np.nan_to_num(along, posinf=0, neginf=0)[..., None] * (b - a)
        points = np.concatenate([camera, cut], axis=1)  # (P, 20, 3)
        crossing = (a[..., 2] < near) != (b[..., 2] < near)
        valid = np.concatenate([camera[..., 2] >= near, crossing], axis=1)
        u = points[..., 0] / np.maximum(points[..., 2], near) * K[0, 0] + K[0, 2]
        v = points[..., 1] / np.maximum(points[..., 2], near) * K[1, 1] + K[1, 2]
    limits = []
    for values, most in ((u, width), (v, height)):
        low = np.where(valid, values, np.inf).min(axis=1, initial=np.inf)
        high = np.where(valid, values, -np.inf).max(axis=1, initial=-np.inf)
        limits.append(np.clip(np.floor(low) - 1, 0, most).astype(np.intp))
        limits.append(np.clip(np.ceil(high) + 1, 0, most).astype(np.intp))
    left, right, top, bottom = limits
    nearest = np.where(valid, points[..., 2], np.inf).min(axis=1, initial=np.inf) - 1e-3
    return left, top, right, bottom, nearest


class _Turned:
    """The rays of one screen rectangle in the axes of one thing, with what its primitives share."""

    def __init__(self, table: Table, index: int, rays: Rays, window: Window) -> None:
        self._table, self._eye = table, rays.eye
        self._c, self._s = table.cos[index], table.sin[index]
        x, y, z = (rays.d[axis][window] for axis in range(3))
        self._d: list[F32] = [x * self._c + y * self._s, y * self._c - x * self._s, z]
        self._inverse: list[F32] = [np.reciprocal(_away_from_zero(d)) for d in self._d]

    def hit(self, index: int, window: Window) -> F32:
        """Depth (h, w) at which rays enter one primitive, infinity where they miss."""
        offset, half = self._eye - self._table.centre[index], self._table.half[index]
        o = (offset[0] * self._c + offset[1] * self._s, offset[1] * self._c - offset[0] * self._s, offset[2])
        shape, d = SHAPES[self._table.shape[index]], [side[window] for side in self._d]
        if shape == "sphere":
            spans = [_sphere(o, d, half[0])]
        elif shape == "cylinder":
            spans = [_slab(o[2], self._inverse[2][window], half[2]), _disc(o, d, half[0])]
        else:
            spans = [_slab(o[i], self._inverse[i][window], half[i]) for i in (2, 0, 1)]
        enter, leave = spans[0]
        for near, far in spans[1:]:
            np.maximum(enter, near, out=enter)
            np.minimum(leave, far, out=leave)
        return np.where((enter < leave) & (enter > _NEAR), enter, np.float32(np.inf))


def _sphere(o: Offset, d: list[F32], radius: np.float32) -> tuple[F32, F32]:
    """Ray parameters at which a ray enters and leaves a sphere."""
    dx, dy, dz = d
    a = dx * dx + dy * dy + dz * dz
    b = o[0] * dx + o[1] * dy + o[2] * dz
    # |o x d|**2 instead of b**2 - a*c: the same discriminant without cancellation in float32
    cx, cy, cz = o[1] * dz - o[2] * dy, o[2] * dx - o[0] * dz, o[0] * dy - o[1] * dx
    return _roots(a, b, a * radius * radius - (cx * cx + cy * cy + cz * cz))


def _slab(o: np.float32, inverse: F32, half: np.float32) -> tuple[F32, F32]:
    """Ray parameters at which a coordinate enters and leaves [-half, half]."""
    one, other = (-half - o) * inverse, (half - o) * inverse
    return np.minimum(one, other), np.maximum(one, other)


def _disc(o: Offset, d: list[F32], radius: np.float32) -> tuple[F32, F32]:
    """Ray parameters at which a ray enters and leaves an upright cylinder without ends."""
    dx, dy, _ = d
    a = np.maximum(dx * dx + dy * dy, np.float32(1e-12))
    cross = o[0] * dy - o[1] * dx
    return _roots(a, o[0] * dx + o[1] * dy, a * radius * radius - cross * cross)


def _roots(a: F32, b: F32, root: F32) -> tuple[F32, F32]:
    """Both solutions of a t**2 + 2 b t + c = 0 for its discriminant; an empty span where there is none."""
    miss = root < 0
    root = np.sqrt(np.maximum(root, 0))
    near, far = (-b - root) / a, (root - b) / a
    near[miss], far[miss] = np.inf, -np.inf
    return near, far


def _away_from_zero(d: F32) -> F32:
    return np.where(np.abs(d) < np.float32(1e-9), np.float32(1e-9), d)
