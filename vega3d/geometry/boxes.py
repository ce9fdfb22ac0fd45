"""Upright oriented boxes (yaw only): corners, containment, and exact closest distances.

Decision: the things of an indoor scene stand upright, so a box is (centre, size, yaw) and every distance
splits into a plane part (convex footprints) and a vertical gap. Tilted boxes are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]

_SIGNS = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], dtype=np.float64)


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


def box_distance(a: OrientedBox, b: OrientedBox) -> float:
    """Closest distance in metres between two boxes; 0 where they touch or overlap."""
    (a_low, a_high), (b_low, b_high) = a.z_range, b.z_range
    gap = max(0.0, a_low - b_high, b_low - a_high)
    return float(np.hypot(outline_distance(footprint(a), footprint(b)), gap))


def _points_to_edges(points: Array, outline: Array) -> float:
    """Smallest distance between points (n, 2) and the closed outline's edges (m, 2)."""
    edges = np.roll(outline, -1, axis=0) - outline
    offset = points[:, None] - outline[None]  # (n, m, 2)
    along = (offset * edges).sum(-1) / (edges**2).sum(-1)
    nearest = np.clip(along, 0, 1)[..., None] * edges
    return float(np.sqrt(((offset - nearest) ** 2).sum(-1)).min())
