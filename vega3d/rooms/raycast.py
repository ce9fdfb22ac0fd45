"""Analytic ray casting of boxes and upright cylinders in numpy: depth and which primitive, nothing more.

Decision: one pass a primitive, only over the screen rectangle that its box covers, into a depth buffer.
That is exact (no meshes, no tessellation) and fast because most primitives are small on screen. Rays have
z = 1 in camera axes, so the ray parameter *is* the z-depth. Colour and light are shading.py's affair.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vega3d.geometry import corners, project
from vega3d.rooms.scene import Primitive, Room, Surface

F32 = NDArray[np.float32]
_NEAR = np.float32(0.02)  # metres


@dataclass(frozen=True)
class Table:
    """All primitives of a room as arrays over P rows, for gathering by pixel.

    Rows 0..5 are the shell (-x, +x, -y, +y wall, floor, ceiling), the rest are the things' primitives.
    """

    primitives: tuple[Primitive, ...]
    centre: F32
    half: F32
    cos: F32
    sin: F32
    is_cylinder: NDArray[np.bool_]
    instance: NDArray[np.int32]
    surfaces: tuple[Surface, ...]

    @cached_property
    def colour(self) -> F32:
        """(P, 3) base RGB in 0..1."""
        return np.array([s.colour for s in self.surfaces], dtype=np.float32)

    @cached_property
    def texture(self) -> NDArray[np.int32]:
        """(P,) index into scene.TEXTURES."""
        return np.array([s.texture for s in self.surfaces], dtype=np.int32)

    @cached_property
    def frequency(self) -> F32:
        """(P,) radians per metre of the texture."""
        return np.array([2 * np.pi / s.period for s in self.surfaces], dtype=np.float32)

    @cached_property
    def contrast(self) -> F32:
        """(P,) contrast of the texture."""
        return np.array([s.contrast for s in self.surfaces], dtype=np.float32)

    @cached_property
    def phase(self) -> F32:
        """(P, 3) phase of the texture in metres."""
        return np.array([s.phase for s in self.surfaces], dtype=np.float32)


def tabulate(room: Room) -> Table:
    """The room's primitives as one table, shell first."""
    parts = [(part, thing.id) for thing in room.instances for part in thing.primitives]
    shell = [room.walls] * 4 + [room.floor, room.ceiling]
    centre = [(0.0, 0.0, 0.0)] * 6 + [part.box.centre for part, _ in parts]
    half = [(1.0, 1.0, 1.0)] * 6 + [tuple(v / 2 for v in part.box.size) for part, _ in parts]
    yaw = np.array([0.0] * 6 + [part.box.yaw for part, _ in parts])
    return Table(
        primitives=tuple(part for part, _ in parts),
        centre=np.array(centre, dtype=np.float32),
        half=np.array(half, dtype=np.float32),
        cos=np.cos(yaw).astype(np.float32),
        sin=np.sin(yaw).astype(np.float32),
        is_cylinder=np.array([False] * 6 + [part.shape == "cylinder" for part, _ in parts]),
        instance=np.array([0] * 6 + [number for _, number in parts], dtype=np.int32),
        surfaces=(*shell, *(part.surface for part, _ in parts)),
    )


def cast(
    table: Table,
    size: tuple[float, float, float],
    rays: F32,
    K: NDArray[np.floating],
    pose: NDArray[np.floating],
) -> tuple[F32, NDArray[np.int32]]:
    """z-depth (H, W) in metres and row of the table (H, W) for world rays (H, W, 3) from one pose."""
    origin = pose[:3, 3].astype(np.float32)
    depth, row = _shell(origin, rays, size)
    height, width = depth.shape
    for index, primitive in enumerate(table.primitives, start=6):
        window = _window(primitive, K, pose, height, width)
        if window is None:
            continue
        t = _hit(table, index, origin, rays[window])
        closer = t < depth[window]
        depth[window] = np.where(closer, t, depth[window])
        row[window] = np.where(closer, np.int32(index), row[window])
    return depth, row


def _shell(origin: F32, rays: F32, size: tuple[float, float, float]) -> tuple[F32, NDArray[np.int32]]:
    """Where rays leave the room: depth (H, W) and row 0..5."""
    low = np.array([-size[0] / 2, -size[1] / 2, 0.0], dtype=np.float32)
    high = np.array([size[0] / 2, size[1] / 2, size[2]], dtype=np.float32)
    safe = _away_from_zero(rays)
    leave = np.where(safe > 0, high - origin, low - origin) / safe  # (H, W, 3), always positive inside
    axis = leave.argmin(axis=-1)
    depth: F32 = np.take_along_axis(leave, axis[..., None], axis=-1)[..., 0].astype(np.float32)
    upward = np.take_along_axis(safe, axis[..., None], axis=-1)[..., 0] > 0
    row: NDArray[np.int32] = (2 * axis + upward).astype(np.int32)
    return depth, row


def _window(
    primitive: Primitive, K: NDArray[np.floating], pose: NDArray[np.floating], height: int, width: int
) -> tuple[slice, slice] | None:
    """Rows and columns that the primitive can cover; all of them when its box crosses the camera plane."""
    uv, z = project(corners(primitive.box), K, pose)
    if z.max() <= _NEAR:
        return None
    if z.min() <= _NEAR:
        return slice(0, height), slice(0, width)
    left, top = np.floor(uv.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(uv.max(axis=0)).astype(int) + 1
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return None
    return slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))


def _hit(table: Table, index: int, origin: F32, rays: F32) -> F32:
    """Depth (h, w) at which rays enter one primitive, infinity where they miss."""
    offset, c, s = origin - table.centre[index], table.cos[index], table.sin[index]
    ox, oy, oz = offset[0] * c + offset[1] * s, offset[1] * c - offset[0] * s, offset[2]
    dx, dy = rays[..., 0] * c + rays[..., 1] * s, rays[..., 1] * c - rays[..., 0] * s
    half = table.half[index]
    enter, leave = _slab(oz, rays[..., 2], half[2])
    if table.is_cylinder[index]:
        near, far = _disc(ox, oy, dx, dy, half[0])
        enter, leave = np.maximum(enter, near), np.minimum(leave, far)
    else:
        for o, d, h in ((ox, dx, half[0]), (oy, dy, half[1])):
            near, far = _slab(o, d, h)
            enter, leave = np.maximum(enter, near), np.minimum(leave, far)
    return np.where((enter < leave) & (enter > _NEAR), enter, np.float32(np.inf))


def _slab(o: np.float32, d: F32, half: np.float32) -> tuple[F32, F32]:
    """Ray parameters at which a coordinate enters and leaves [-half, half]."""
    inverse = 1 / _away_from_zero(d)
    middle, reach = -o * inverse, half * np.abs(inverse)
    return middle - reach, middle + reach  # type: ignore[return-value]  # stubs widen float32 scalars


def _disc(ox: np.float32, oy: np.float32, dx: F32, dy: F32, radius: np.float32) -> tuple[F32, F32]:
    """Ray parameters at which a ray enters and leaves an upright cylinder without ends."""
    a = np.maximum(dx * dx + dy * dy, np.float32(1e-12))
    b = ox * dx + oy * dy
    # cross**2 instead of b**2 - a*c: the same discriminant without cancellation in float32
    cross = ox * dy - oy * dx
    root = a * radius * radius - cross * cross
    miss = root < 0
    root = np.sqrt(np.where(miss, 0, root))
    return np.where(miss, np.float32(np.inf), (-b - root) / a), np.where(
        miss, -np.float32(np.inf), (-b + root) / a
    )


def _away_from_zero(d: F32) -> F32:
    return np.where(np.abs(d) < np.float32(1e-9), np.float32(1e-9), d)
