"""An independent reader of descriptions: parses the words, looks at points sampled on the surfaces.

Nothing of rooms.references, rooms.relations or rooms.situations is used; categories, colours, materials are
read off the scene graph, all geometry off point clouds.
"""

from __future__ import annotations

import re

import numpy as np

from tests.rooms.surface import closest, sample
from vega3d.rooms import Room
from vega3d.rooms.furniture import COLOURS, KINDS, MATERIALS, plural
from vega3d.rooms.scene import Instance

NAMES = {**{name: name for name in KINDS}, **{plural(name): name for name in KINDS}}
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
RELATIONS = (
    ("closest", r"(?:closest|nearest) to the (\w+)"),
    ("farthest", r"farthest (?:away )?from the (\w+)"),
    ("near", r"(?:next to|beside) the (\w+)"),
    ("on", r"(?:lying on|on top of|on) the (\w+)"),
)


class World:
    """A room as point clouds by object id."""

    def __init__(self, room: Room) -> None:
        self.things: tuple[Instance, ...] = room.instances
        self.clouds = [sample(thing, 0.07) for thing in room.instances]
        self._gaps: dict[tuple[int, int], float] = {}

    def gap(self, a: int, b: int) -> float:
        key = (min(a, b), max(a, b))
        if key not in self._gaps:
            self._gaps[key] = closest(self.clouds[a], self.clouds[b])
        return self._gaps[key]

    def of(self, category: str) -> list[int]:
        return [i for i, thing in enumerate(self.things) if thing.category == category]

    def middle(self, i: int) -> np.ndarray:
        return (self.clouds[i].max(0) + self.clouds[i].min(0)) / 2

    def bulk(self, i: int) -> float:
        """Volume of the cloud's extent in the axes of its thing."""
        c, s = np.cos(self.things[i].box.yaw), np.sin(self.things[i].box.yaw)
        x, y, z = self.clouds[i].T
        return float(np.prod([np.ptp(v) for v in (x * c + y * s, y * c - x * s, z)]))

    def rests_on(self, i: int, carrier: int) -> bool:
        above = self.clouds[i][:, 2].min() > 0.05
        return above and self.gap(i, carrier) < 0.04 and KINDS[self.things[i].category].place == "top"

    def meant(self, text: str) -> list[int]:
        """Object ids that a description means."""
        words = re.findall(r"[a-z]+", text.lower())
        subject = next(NAMES[w] for w in words if w in NAMES)
        before = words[: next(n for n, w in enumerate(words) if w in NAMES)]
        colours = [w for w in before if w in COLOURS]
        materials = [w for w in before if w in MATERIALS]
        found = [
            i
            for i in self.of(subject)
            if all(self.things[i].colour == c for c in colours)
            and all(self.things[i].material == m for m in materials)
        ]
        for relation, pattern in RELATIONS:
            match = re.search(pattern, text.lower())
            if match:
                (anchor,) = self.of(match.group(1))
                found = self._related(relation, [i for i in found if i != anchor], anchor)
        if "largest" in words or "smallest" in words:
            found = sorted(found, key=self.bulk, reverse="largest" in words)[:1]
        return found

    def _related(self, relation: str, found: list[int], anchor: int) -> list[int]:
        if relation == "on":
            return [i for i in found if self.rests_on(i, anchor)]
        if relation == "near":
            return [i for i in found if self.gap(i, anchor) < 0.65]
        ordered = sorted(found, key=lambda i: self.gap(i, anchor), reverse=relation == "farthest")
        return ordered[:1]


def heading(annotation: dict) -> float:
    """Radians about +z of a quaternion about +z."""
    turn = annotation["rotation"]
    return 2 * float(np.arctan2(turn["_z"], turn["_w"]))
