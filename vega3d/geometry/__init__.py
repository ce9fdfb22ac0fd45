"""Cameras and boxes in numpy: the geometry that rooms, data and evaluation share (no torch)."""

from __future__ import annotations

from vega3d.geometry.boxes import (
    OrientedBox,
    box_distance,
    contains,
    corners,
    footprint,
    outline_distance,
    outlines_overlap,
    point_outline_distance,
    rotation,
    to_local,
)
from vega3d.geometry.cameras import backproject, intrinsics, look_at, pixel_rays, project

__all__ = [
    "OrientedBox",
    "backproject",
    "box_distance",
    "contains",
    "corners",
    "footprint",
    "intrinsics",
    "look_at",
    "outline_distance",
    "outlines_overlap",
    "pixel_rays",
    "point_outline_distance",
    "project",
    "rotation",
    "to_local",
]
