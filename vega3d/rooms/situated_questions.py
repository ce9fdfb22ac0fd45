"""Situated questions, as SQA3D asks them: about left, right and behind from a position in the room.

Decision: directions are those of the things' centres from where one stands; whatever is within 15 degrees of
a border between sectors is not asked. Axes: `position` in metres on the floor; `rotation` is the quaternion
about +z that turns +x to where one looks (SQA3D's own zero direction is not documented; this is ours).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vega3d.geometry import footprint, point_outline_distance
from vega3d.rooms.camera import is_clear
from vega3d.rooms.facts import Visibility, turn
from vega3d.rooms.furniture import KINDS, plural
from vega3d.rooms.references import WORDS, article
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance, grouped

_SEATS = ("chair", "sofa", "bed", "stool", "bench")
_SECTORS = {"in front of me": 0.0, "on my left": 90.0, "behind me": 180.0, "on my right": -90.0}
_CLEAR = 15.0  # degrees
_SITTING = ("I am sitting on the {} and facing the {}.", "I sit on the {} looking at the {}.")
_STANDING = (
    "I am standing next to the {} and facing the {}.",
    "I stand by the {} and look at the {}.",
    "I am facing the {1} while standing beside the {0}.",
)


@dataclass(frozen=True)
class Situation:
    """A place (x, y) in metres, a heading in radians about +z from +x, and texts that describe them.

    What is ``named`` in the texts is not asked about: the text would answer.
    """

    visible: Visibility
    place: tuple[float, float]
    heading: float
    texts: tuple[str, ...]
    named: frozenset[str]

    def angle(self, thing: Instance) -> float:
        """Degrees in (-180, 180] to turn left to face a thing."""
        there = np.asarray(thing.box.centre[:2]) - np.asarray(self.place)
        return turn(np.array([math.cos(self.heading), math.sin(self.heading)]), there)

    def sector(self, thing: Instance) -> str | None:
        """Name of the quarter that a thing is in; None near a border."""
        angle = self.angle(thing)
        off = {name: abs((angle - middle + 180) % 360 - 180) for name, middle in _SECTORS.items()}
        return next((name for name in off if off[name] < 45 - _CLEAR), None)

    @cached_property
    def askable(self) -> dict[str, Instance]:
        """The single things that the texts do not name, by category."""
        return {n: thing for n, thing in self.visible.unique.items() if n not in self.named}

    @cached_property
    def angles(self) -> dict[str, float]:
        """The angle of each of them."""
        return {name: self.angle(thing) for name, thing in self.askable.items()}

    @cached_property
    def sectors(self) -> dict[str, str]:
        """The quarter of each of them that is plainly in one."""
        sectors = {name: self.sector(thing) for name, thing in self.askable.items()}
        return {name: sector for name, sector in sectors.items() if sector is not None}


def situated_questions(rng: Rng, visible: Visibility, most: int) -> list[tuple[Situation, str, str]]:
    """At most ``most`` (situation, question, answer), each in a situation of its own."""
    asked: list[tuple[Situation, str, str]] = []
    for _ in range(4 * most):
        situation = _stand(rng, visible)
        if situation is None or len(asked) == most:
            continue
        made = rng.pick(_MAKERS)(rng, situation)
        if made is not None:
            asked.append((situation, *made))
    return asked


def _stand(rng: Rng, visible: Visibility) -> Situation | None:
    """Beside one thing or sitting on it, facing another."""
    names = rng.some(visible.unique, 2)
    if len(names) < 2:
        return None
    here, ahead = (visible.unique[name] for name in names)
    sits = here.category in _SEATS and rng.chance(0.5)
    place = here.box.centre[:2] if sits else _beside(rng, visible, here)
    if place is None or math.dist(ahead.box.centre[:2], place) < 0.8:
        return None
    heading = math.atan2(ahead.box.centre[1] - place[1], ahead.box.centre[0] - place[0])
    texts = tuple(text.format(*names) for text in (_SITTING if sits else _STANDING))
    return Situation(visible, place, round(heading, 6), texts, frozenset(names))


def _beside(rng: Rng, visible: Visibility, thing: Instance) -> tuple[float, float] | None:
    """A free spot on the floor, 0.3 to 0.7 m from the thing."""
    half = np.asarray(visible.room.size[:2]) / 2 - 0.25
    for _ in range(40):
        reach = max(thing.box.size[:2]) / 2 + 0.7
        x, y = (thing.box.centre[i] + rng.real(-reach, reach) for i in range(2))
        spot = np.array([x, y])
        near = 0.3 <= point_outline_distance(spot, footprint(thing.box)) <= 0.7
        body = np.array([[x, y, z] for z in (0.1, 0.5, 0.9, 1.3, 1.6)])
        if near and (np.abs(spot) <= half).all() and is_clear(visible.room, body, 0.15):
            return (round(x, 6), round(y, 6))
    return None


Made = tuple[str, str] | None
_Maker = Callable[[Rng, Situation], Made]


def _side(rng: Rng, situation: Situation) -> Made:
    wanted = rng.pick(("left", "right"))
    fits = [n for n, sector in situation.sectors.items() if sector == f"on my {wanted}"]
    return (f"Is the {rng.pick(fits)} on my left or on my right?", wanted) if fits else None


def _behind(rng: Rng, situation: Situation) -> Made:
    wanted = rng.chance(0.5)
    behind = [n for n, sector in situation.sectors.items() if sector == "behind me"]
    elsewhere = [n for n in situation.sectors if n not in behind]
    # Asked only where both answers are possible: else "no" would be the likelier one.
    if not behind or not elsewhere:
        return None
    return f"Is the {rng.pick(behind if wanted else elsewhere)} behind me?", "yes" if wanted else "no"


def _colour(rng: Rng, situation: Situation) -> Made:
    """Of a category that is in this quarter once, and whose copies are all plainly somewhere."""
    fits = []
    for name, things in situation.visible.room.by_category.items():
        where = [situation.sector(t) for t in things]
        if None in where or name in situation.named or len(KINDS[name].colours) <= 2:
            continue
        alone = {side: things[where.index(side)] for side in _SECTORS if where.count(side) == 1}
        shown = [(side, t.colour) for side, t in alone.items() if t.id in situation.visible.shown]
        fits += [(f"What color is the {name} {side}?", colour) for side, colour in shown]
    return rng.pick(fits) if fits else None


def _count(rng: Rng, situation: Situation) -> Made:
    """The number is drawn first; nothing of the category may be unseen or near a border."""
    visible, counts = situation.visible, []
    for name, things in visible.room.by_category.items():
        where = [situation.sector(t) for t in things]
        if len(things) > 1 and None not in where and visible.shows(things):
            counts += [(where.count(side), f"How many {plural(name)} are {side}?") for side in _SECTORS]
    fits = grouped(counts)
    several = [number for number in sorted(fits) if number > 1]
    number = rng.pick(several if several and rng.chance(0.6) else sorted(fits)) if fits else 0
    return (rng.pick(fits[number]), WORDS[number]) if fits else None


def _can(rng: Rng, situation: Situation) -> Made:
    wanted = rng.chance(0.5)
    ahead = [n for n, angle in situation.angles.items() if abs(angle) < 75]
    back = [n for n, angle in situation.angles.items() if abs(angle) > 105]
    if not ahead or not back:
        return None
    name, answer = rng.pick(ahead if wanted else back), "yes" if wanted else "no"
    return f"Can I see the {name} without turning by more than ninety degrees?", answer


def _which(rng: Rng, situation: Situation) -> Made:
    names, place = rng.some(sorted(situation.askable), 2), np.asarray(situation.place)
    metres = [point_outline_distance(place, footprint(situation.askable[n].box)) for n in names]
    if len(names) < 2 or abs(metres[0] - metres[1]) < 0.4:
        return None
    nearer = names[0] if metres[0] < metres[1] else names[1]
    return f"Which is closer to me, the {names[0]} or the {names[1]}?", nearer


def _turn(rng: Rng, situation: Situation) -> Made:
    wanted = rng.pick(("left", "right"))
    fits = [n for n, a in situation.angles.items() if 30 <= abs(a) <= 150 and (a > 0) == (wanted == "left")]
    return (f"Should I turn left or right to face the {rng.pick(fits)}?", wanted) if fits else None


def _what(rng: Rng, situation: Situation) -> Made:
    """The only one of three named kinds that is in a quarter."""
    side = rng.pick(list(_SECTORS))
    there = [n for n, sector in situation.sectors.items() if sector == side]
    others = [n for n in situation.sectors if n not in there]
    if not there or len(others) < 2:
        return None
    right = rng.pick(there)
    a, b, c = rng.some([right, *rng.some(others, 2)])
    return f"What is {side}, {article(a)} {a}, {article(b)} {b} or {article(c)} {c}?", right


_MAKERS: tuple[_Maker, ...] = (_side, _behind, _colour, _count, _can, _which, _turn, _what)
