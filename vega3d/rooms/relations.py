"""Exact spatial relations between things, computed from their primitives and boxes.

Closest distances are between the *surfaces* of the primitives (a table's top and legs, not its box), in
closed form; directions and sizes use the boxes, as VSI-Bench does. No pixels, no wording.
"""

from __future__ import annotations

import math

import numpy as np

from vega3d.geometry import footprint, outline_distance, point_outline_distance
from vega3d.rooms.scene import Instance, Primitive, Room


def distance(a: Instance, b: Instance) -> float:
    """Closest distance in metres between the surfaces of two things."""
    return min(_primitive_distance(p, q) for p in a.primitives for q in b.primitives)


def longest_side(thing: Instance) -> float:
    """Longest of width, depth and height in metres."""
    return max(thing.box.size)


def floor_area(room: Room) -> float:
    """Square metres of the floor."""
    return room.size[0] * room.size[1]


def bearing(standing: Instance, facing: Instance, query: Instance) -> float:
    """Angle in degrees, in (-180, 180], to turn *left* from facing one thing to facing another."""
    here = np.asarray(standing.box.centre[:2])
    ahead, there = (np.asarray(t.box.centre[:2]) - here for t in (facing, query))
    cross = ahead[0] * there[1] - ahead[1] * there[0]
    return math.degrees(math.atan2(cross, float(ahead @ there)))


def floor_distance(a: Instance, b: Instance) -> float:
    """Distance in metres between the centres of two boxes, seen from above."""
    return math.dist(a.box.centre[:2], b.box.centre[:2])


def _primitive_distance(p: Primitive, q: Primitive) -> float:
    """Both are upright prisms, so the plane distance and the vertical gap are independent."""
    (p_low, p_high), (q_low, q_high) = p.box.z_range, q.box.z_range
    gap = max(0.0, p_low - q_high, q_low - p_high)
    return math.hypot(_plane_distance(p, q), gap)


def _plane_distance(p: Primitive, q: Primitive) -> float:
    if p.shape == "box" and q.shape == "box":
        return outline_distance(footprint(p.box), footprint(q.box))
    if p.shape == "box":
        p, q = q, p
    centre, radius = np.asarray(p.box.centre[:2]), p.box.size[0] / 2
    if q.shape == "cylinder":
        return max(0.0, math.dist(p.box.centre[:2], q.box.centre[:2]) - radius - q.box.size[0] / 2)
    return max(0.0, point_outline_distance(centre, footprint(q.box)) - radius)
