"""Finding free places in a room: against a wall, on the floor, hung up, on top of other things.

Decision: every placed thing keeps a *zone* free (its footprint grown a little, over its heights), and a
place is good when its own zone meets no other. Openings keep the floor before them free, so they can be
seen and used. This module places boxes; it does not depend on their appearance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vega3d.geometry import OrientedBox, footprint, outlines_overlap, rotation
from vega3d.rooms.furniture import Kind, Support
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance, upright_box

_GAP = 0.12  # metres kept free between two footprints, so that "closest to" is never a touch
_TRIES = 60
_REACHABLE = 1.7  # metres: nothing lies on planes above this


@dataclass(frozen=True)
class Zone:
    """Space that must stay free: an outline (n, 2) on the floor, over heights ``low`` to ``high``."""

    outline: np.ndarray
    low: float
    high: float

    def meets(self, other: Zone) -> bool:
        """True if two zones share volume."""
        apart = self.high <= other.low or other.high <= self.low
        return not apart and outlines_overlap(self.outline, other.outline)


@dataclass(frozen=True)
class Placement:
    """A found place: its box, the id of what carries it (0: the room), and how far it will move."""

    box: OrientedBox
    zone: Zone
    parent: int = 0
    by: tuple[float, float] | None = None


class FloorPlan:
    """The growing plan of one room."""

    def __init__(self, rng: Rng, size: tuple[float, float, float]) -> None:
        self.rng, self.size = rng, size
        self._zones: dict[int, Zone] = {}
        self._planes: list[tuple[Instance, Support]] = []

    def find(self, kind: Kind, size: tuple[float, float, float], *, moves: bool = False) -> Placement | None:
        """A free place for a thing of this size (width, depth, height), or None."""
        for _ in range(_TRIES):
            if kind.place == "top":
                placement = self._on_top(kind, size)
            elif moves:
                placement = self._moving(size)
            elif kind.place == "floor":
                placement = self._standing(size)
            else:
                placement = self._at_wall(kind, size)
            if placement is not None and self._free(placement):
                return placement
        return None

    def add(self, thing: Instance, kind: Kind, placement: Placement) -> None:
        """Keep the place taken; the thing may carry others from now on."""
        self._zones[thing.id] = placement.zone
        low = thing.box.z_range[0]
        for support in kind.supports:
            if placement.by is None and low + support.z * thing.box.size[2] <= _REACHABLE:
                self._planes.append((thing, support))

    def _free(self, placement: Placement) -> bool:
        half = np.asarray(self.size[:2]) / 2 - 0.02
        outline = footprint(placement.box)
        if placement.by is not None:
            outline = np.concatenate([outline, outline + np.asarray(placement.by)])
        low, high = placement.box.z_range
        if (np.abs(outline) > half).any() or high > self.size[2] - 0.05 or low < -1e-5:
            return False
        return not any(placement.zone.meets(z) for id, z in self._zones.items() if id != placement.parent)

    def _standing(self, size: tuple[float, float, float]) -> Placement:
        """Anywhere; yaw is near a multiple of 90 degrees, as in a home."""
        yaw = self.rng.whole(0, 4) * math.pi / 2 + self.rng.bell(0.12)
        x, y = (self.rng.real(-side / 2, side / 2) for side in self.size[:2])
        box = upright_box((x, y, size[2] / 2), size, yaw)
        return Placement(box, _zone(box, _GAP))

    def _moving(self, size: tuple[float, float, float]) -> Placement:
        """A straight lane of 0.8 to 2.5 m that stays free from end to end."""
        start = self._standing(size).box
        length, angle = self.rng.real(0.8, 2.5), self.rng.real(-math.pi, math.pi)
        by = (round(length * math.cos(angle), 6), round(length * math.sin(angle), 6))
        middle = (start.centre[0] + by[0] / 2, start.centre[1] + by[1] / 2, start.centre[2])
        side = math.hypot(size[0], size[1])
        lane = upright_box(middle, (length + side, side, size[2]), angle)
        box = upright_box(start.centre, start.size, angle)
        return Placement(box, _zone(lane, _GAP), by=by)

    def _at_wall(self, kind: Kind, size: tuple[float, float, float]) -> Placement:
        """With its back to one of the four walls, facing the room."""
        wall = self.rng.whole(0, 4)
        hung = kind.place == "hung"
        width, depth = self.size[:2] if wall % 2 == 0 else (self.size[1], self.size[0])
        along = self.rng.real(-1, 1) * max(0.0, width / 2 - size[0] / 2 - 0.08)
        out = depth / 2 - size[1] / 2 - (0.022 if hung else self.rng.real(0.03, 0.1))
        yaw = (0.0, math.pi / 2, math.pi, -math.pi / 2)[wall]
        # In a frame turned by yaw the wall is ahead (+y) and the thing's front looks back (-y).
        c, s = (1, 0, -1, 0)[wall], (0, 1, 0, -1)[wall]
        x, y = along * c - out * s, along * s + out * c
        low = self.rng.real(*kind.hang)
        box = upright_box((x, y, low + size[2] / 2), size, yaw if hung else yaw + self.rng.bell(0.02))
        front = 0.8 if hung and kind.hang == (0.0, 0.0) else 0.45 if hung else 0.15
        return Placement(box, _zone(box, _GAP / 2 if hung else _GAP, front))

    def _on_top(self, kind: Kind, size: tuple[float, float, float]) -> Placement | None:
        """On a plane that is soft or hard as the kind wants, wide enough and with room above."""
        planes = [(thing, support) for thing, support in self._planes if support.soft == kind.soft]
        if not planes:
            return None
        thing, support = self.rng.pick(planes)
        carrier = thing.box
        reach = [support.reach[0] * carrier.size[0], support.reach[1] * carrier.size[1]]
        turned = self.rng.bell(0.5) if support.room > 1 else self.rng.bell(0.1)
        slack = [r - max(size[0], size[1]) * 0.3 for r in reach]
        if min(slack) <= 0 or size[2] > support.room * carrier.size[2]:
            return None
        local = np.array([self.rng.real(-1, 1) * slack[0], self.rng.real(-1, 1) * slack[1]])
        xy = rotation(carrier.yaw) @ local + np.asarray(carrier.centre[:2])
        base = carrier.z_range[0] + support.z * carrier.size[2]
        box = upright_box((float(xy[0]), float(xy[1]), base + size[2] / 2), size, carrier.yaw + turned)
        # Only the other things on top count: the carrier itself is below or around.
        corners = (footprint(box) - np.asarray(carrier.centre[:2])) @ rotation(carrier.yaw)
        fits = (np.abs(corners) <= np.asarray(carrier.size[:2]) * 0.47).all()
        return Placement(box, _zone(box, 0.03), thing.id) if fits else None


def _zone(box: OrientedBox, gap: float, front: float = 0.0) -> Zone:
    """The box's footprint grown by ``gap`` all around and by ``front`` before it."""
    w, d = box.size[0] + 2 * gap, box.size[1] + 2 * gap + front
    shift = rotation(box.yaw) @ np.array([0.0, -front / 2])
    centre = (box.centre[0] + float(shift[0]), box.centre[1] + float(shift[1]), box.centre[2])
    low, high = box.z_range
    return Zone(footprint(OrientedBox(centre, (w, d, box.size[2]), box.yaw)), low + 1e-3, high)
