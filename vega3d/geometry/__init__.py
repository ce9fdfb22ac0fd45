"""Cameras and upright boxes in numpy: the geometry that rooms, data and evaluation share (no torch).

Conventions, once for the whole library: camera axes are OpenCV's (x right, y down, z forward); a pose is
camera-to-world, (4, 4); the world is right-handed with z up; lengths are metres. The *centre* of the pixel
in column i and row j lies at (i + 0.5, j + 0.5). Depth is z-depth (along the optical axis), not range.
Distortion and rolling shutter are not modelled.

Decision: the things of an indoor scene stand upright, so a box is (centre, size, yaw), and its shape a convex
footprint and a range of heights. Tilted boxes are the affair of iou.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vega3d.errors import InputError

Array = NDArray[np.floating]

_SIGNS = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], dtype=np.float64)


def intrinsics(width: int, height: int, fov_x: float) -> Array:
    """(3, 3) matrix of a camera with square pixels; ``fov_x`` is the horizontal field of view in degrees."""
    if not 0 < fov_x < 180:
        raise InputError(f"Invalid field of view: {fov_x}.", got=fov_x, expected="degrees in (0, 180)")
    focal = 0.5 * width / np.tan(np.radians(fov_x) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """(4, 4) camera-to-world pose of a camera at ``eye`` that looks at ``target`` (metres)."""
    origin = np.asarray(eye, dtype=np.float64)
    forward = _unit(np.asarray(target, dtype=np.float64) - origin)
    right = _unit(np.cross(forward, np.asarray(up, dtype=np.float64)))
    pose = np.eye(4)
    # columns: x, y, z of the camera
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = origin
    return pose


def backproject(depth: NDArray[np.floating], K: Array, cam_to_world: Array) -> Array:
    """World points (height, width, 3) of a z-depth map (height, width) in metres."""
    height, width = depth.shape
    u = (np.arange(width) + 0.5 - K[0, 2]) / K[0, 0]
    v = (np.arange(height) + 0.5 - K[1, 2]) / K[1, 1]
    rays = np.stack(np.broadcast_arrays(u, v[:, None], 1.0), axis=-1)  # (height, width, 3), z = 1
    points = rays * depth[..., None]
    return np.asarray(points @ cam_to_world[:3, :3].T + cam_to_world[:3, 3])


def project(points: ArrayLike, K: Array, cam_to_world: Array) -> tuple[Array, Array]:
    """Pixels (N, 2) as (column, row) and z-depths (N,) of world points (N, 3).

    Points behind the camera have z <= 0; their pixels mean nothing.
    """
    world = np.asarray(points, dtype=np.float64)
    camera = (world - cam_to_world[:3, 3]) @ cam_to_world[:3, :3]
    z = camera[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        uv = camera[:, :2] / z[:, None] * np.array([K[0, 0], K[1, 1]]) + K[:2, 2]
    return uv, z


def _unit(vector: Array) -> Array:
    norm = float(np.linalg.norm(vector))
    if norm < 1e-9:
        raise InputError("Invalid camera: eye and target (or up) coincide.", got=vector.tolist())
    return vector / norm


@dataclass(frozen=True)
class OrientedBox:
    """An upright box: ``centre`` (x, y, z) and ``size`` (3,) in metres, ``yaw`` in radians about +z."""

    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float = 0.0

    @property
    def z_range(self) -> tuple[float, float]:
        """Lowest and highest z in metres."""
        return self.centre[2] - self.size[2] / 2, self.centre[2] + self.size[2] / 2


def rotation(yaw: float) -> Array:
    """(2, 2) rotation in the floor plane, counter-clockwise seen from above."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s], [s, c]])


def corners(box: OrientedBox) -> Array:
    """(8, 3) corners in metres; x varies fastest, then y, then z."""
    local = _SIGNS * np.asarray(box.size) / 2
    local[:, :2] = local[:, :2] @ rotation(box.yaw).T
    return np.asarray(local + np.asarray(box.centre))


def footprint(box: OrientedBox) -> Array:
    """(4, 2) outline on the floor, counter-clockwise."""
    return corners(box)[[0, 1, 3, 2], :2]


def to_local(box: OrientedBox, points: ArrayLike) -> Array:
    """(..., 3) world points in the axes of the box, origin at its centre."""
    local: Array = np.asarray(points, dtype=np.float64) - np.asarray(box.centre)
    local[..., :2] = local[..., :2] @ rotation(box.yaw)
    return local


def contains(box: OrientedBox, points: ArrayLike, margin: float = 0.0) -> NDArray[np.bool_]:
    """Mask of the points (..., 3) in the box grown by ``margin`` metres on every side."""
    inside = np.abs(to_local(box, points)) <= np.asarray(box.size) / 2 + margin
    return np.asarray(inside.all(axis=-1))


def outlines_overlap(a: Array, b: Array) -> bool:
    """True if two convex outlines (n, 2) and (m, 2) share area (separating axes)."""
    for outline in (a, b):
        edges = np.roll(outline, -1, axis=0) - outline
        normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1)
        pa, pb = a @ normals.T, b @ normals.T  # (n, axes), (m, axes)
        if ((pa.max(0) <= pb.min(0)) | (pb.max(0) <= pa.min(0))).any():
            return False
    return True


def outline_distance(a: Array, b: Array) -> float:
    """Closest distance in metres between two convex outlines (n, 2) and (m, 2); 0 where they overlap."""
    if len(a) > 2 and len(b) > 2 and outlines_overlap(a, b):
        return 0.0
    return min(_points_to_edges(a, b), _points_to_edges(b, a))


def point_outline_distance(point: Array, outline: Array) -> float:
    """Distance in metres from a point (2,) to a convex outline (n, 2), counter-clockwise; 0 inside."""
    edges = np.roll(outline, -1, axis=0) - outline
    offset = point - outline
    if (edges[:, 0] * offset[:, 1] - edges[:, 1] * offset[:, 0] >= 0).all():
        return 0.0
    return _points_to_edges(point[None], outline)


def _points_to_edges(points: Array, outline: Array) -> float:
    """Smallest distance between points (n, 2) and the closed outline's edges (m, 2)."""
    edges = np.roll(outline, -1, axis=0) - outline
    offset = points[:, None] - outline[None]  # (n, m, 2)
    along = (offset * edges).sum(-1) / (edges**2).sum(-1)
    nearest = np.clip(along, 0, 1)[..., None] * edges
    return float(np.sqrt(((offset - nearest) ** 2).sum(-1)).min())
