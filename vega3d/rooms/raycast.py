"""Analytic ray casting of boxes, upright cylinders and spheres in numpy: depth and which primitive.

Decision: one pass a primitive, only over the screen rectangle that its box covers, into a depth buffer;
what the primitives of one thing share (its turned rays) is computed once a thing. That is exact (no meshes,
no tessellation) and fast because most primitives are small on screen. Rays have z = 1 in camera axes, so the
ray parameter *is* the z-depth. Only +, -, *, / and square roots of float32 arrays are used, which IEEE 754
rounds alike everywhere: ids and depth are the same on every machine. Colour is shading.py's affair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry import Array
from vega3d.rooms.table import F32, I32, Table

Window = tuple[slice, slice]
_NEAR = np.float32(0.02)  # metres
# (12, 2) corners of a box that an edge joins
_EDGES = np.array([(i, i | bit) for bit in (1, 2, 4) for i in range(8) if not i & bit])


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
        x, y, self._dz = (rays.d[axis][window] for axis in range(3))
        self._dx, self._dy = x * self._c + y * self._s, y * self._c - x * self._s
        sides: tuple[F32, F32, F32] = (self._dx, self._dy, self._dz)
        self._inverse: list[F32] = [np.reciprocal(_away_from_zero(d)) for d in sides]

    def hit(self, index: int, window: Window) -> F32:
        """Depth (h, w) at which rays enter one primitive, infinity where they miss."""
        offset, half = self._eye - self._table.centre[index], self._table.half[index]
        o = (offset[0] * self._c + offset[1] * self._s, offset[1] * self._c - offset[0] * self._s, offset[2])
        shape = self._table.shape[index]
        if shape == 2:
            enter, leave = self._sphere(o, half[0], window)
        else:
            enter, leave = _slab(o[2], self._inverse[2][window], half[2])
            if shape == 1:
                spans = [_disc(o[0], o[1], self._dx[window], self._dy[window], half[0])]
            else:
                spans = [_slab(o[i], self._inverse[i][window], half[i]) for i in (0, 1)]
            for near, far in spans:
                np.maximum(enter, near, out=enter)
                np.minimum(leave, far, out=leave)
        return np.where((enter < leave) & (enter > _NEAR), enter, np.float32(np.inf))

    def _sphere(self, o: tuple[np.float32, ...], radius: np.float32, window: Window) -> tuple[F32, F32]:
        dx, dy, dz = self._dx[window], self._dy[window], self._dz[window]
        a = dx * dx + dy * dy + dz * dz
        b = o[0] * dx + o[1] * dy + o[2] * dz
        # |o x d|**2 instead of b**2 - a*c: the same discriminant without cancellation in float32
        cx, cy, cz = o[1] * dz - o[2] * dy, o[2] * dx - o[0] * dz, o[0] * dy - o[1] * dx
        return _roots(a, b, a * radius * radius - (cx * cx + cy * cy + cz * cz))


def _slab(o: np.float32, inverse: F32, half: np.float32) -> tuple[F32, F32]:
    """Ray parameters at which a coordinate enters and leaves [-half, half]."""
    one, other = (-half - o) * inverse, (half - o) * inverse
    return np.minimum(one, other), np.maximum(one, other)


def _disc(ox: np.float32, oy: np.float32, dx: F32, dy: F32, radius: np.float32) -> tuple[F32, F32]:
    """Ray parameters at which a ray enters and leaves an upright cylinder without ends."""
    a = np.maximum(dx * dx + dy * dy, np.float32(1e-12))
    cross = ox * dy - oy * dx
    return _roots(a, ox * dx + oy * dy, a * radius * radius - cross * cross)


def _roots(a: F32, b: F32, root: F32) -> tuple[F32, F32]:
    """Both solutions of a t**2 + 2 b t + c = 0 for its discriminant; an empty span where there is none."""
    miss = root < 0
    root = np.sqrt(np.maximum(root, 0))
    near, far = (-b - root) / a, (root - b) / a
    near[miss], far[miss] = np.inf, -np.inf
    return near, far


def _away_from_zero(d: F32) -> F32:
    return np.where(np.abs(d) < np.float32(1e-9), np.float32(1e-9), d)
