"""Situated questions, as SQA3D asks them: about left, right and behind from a position in the room.

Decision: directions are those of the things' centres from where one stands; whatever is within 15 degrees of
a border between sectors is not asked. Axes: `position` in metres on the floor; `rotation` is the quaternion
about +z that turns +x to where one looks (SQA3D's own zero direction is not documented; this is ours).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vega3d.geometry import footprint, point_outline_distance
from vega3d.rooms.camera import is_clear
from vega3d.rooms.facts import Visibility, turn
from vega3d.rooms.furniture import KINDS, plural
from vega3d.rooms.references import WORDS, article
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance

_SEATS = ("chair", "sofa", "bed", "stool", "bench")
_SECTORS = {"in front of me": 0.0, "on my left": 90.0, "behind me": 180.0, "on my right": -90.0}
_CLEAR = 15.0  # degrees


@dataclass(frozen=True)
class Situation:
    """A place (x, y) in metres, a heading in radians about +z from +x, and texts that describe them.

    What is ``named`` in the texts is not asked about: the text would answer.
    """

    place: tuple[float, float]
    heading: float
    texts: tuple[str, ...]
    named: frozenset[str] = frozenset()

    def angle(self, thing: Instance) -> float:
        """Degrees in (-180, 180] to turn left to face a thing."""
        there = np.asarray(thing.box.centre[:2]) - np.asarray(self.place)
        return turn(np.array([math.cos(self.heading), math.sin(self.heading)]), there)

    def distance(self, thing: Instance) -> float:
        """Metres on the floor to the thing's footprint."""
        return point_outline_distance(np.asarray(self.place), footprint(thing.box))


def situated_questions(rng: Rng, visible: Visibility, most: int) -> list[tuple[Situation, str, str]]:
    """At most ``most`` (situation, question, answer), each in a situation of its own."""
    asked: list[tuple[Situation, str, str]] = []
    for _ in range(4 * most):
        situation = _stand(rng, visible)
        if situation is None or len(asked) == most:
            continue
        made = rng.pick(_MAKERS)(rng, visible, situation)
        if made is not None:
            asked.append((situation, *made))
    return asked


def sector(situation: Situation, thing: Instance) -> str | None:
    """Name of the quarter that a thing is in; None near a border."""
    angle = situation.angle(thing)
    for name, middle in _SECTORS.items():
        off = abs((angle - middle + 180) % 360 - 180)
        if off < 45 - _CLEAR:
            return name
    return None


def _stand(rng: Rng, visible: Visibility) -> Situation | None:
    """Beside one thing or sitting on it, facing another."""
    names = rng.some(visible.unique, 2)
    if len(names) < 2:
        return None
    here, ahead = (visible.unique[name] for name in names)
    if here.category in _SEATS and rng.chance(0.5):
        position = (here.box.centre[0], here.box.centre[1])
        texts: tuple[str, ...] = (
            f"I am sitting on the {names[0]} and facing the {names[1]}.",
            f"I sit on the {names[0]} looking at the {names[1]}.",
        )
    else:
        beside = _beside(rng, visible, here)
        if beside is None:
            return None
        position = beside
        texts = (
            f"I am standing next to the {names[0]} and facing the {names[1]}.",
            f"I stand by the {names[0]} and look at the {names[1]}.",
            f"I am facing the {names[1]} while standing beside the {names[0]}.",
        )
    there = np.asarray(ahead.box.centre[:2]) - np.asarray(position)
    if float(np.linalg.norm(there)) < 0.8:
        return None
    return Situation(position, round(math.atan2(there[1], there[0]), 6), texts, frozenset(names))


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


def _askable(visible: Visibility, situation: Situation) -> dict[str, Instance]:
    """The single things that the situation does not name, by category."""
    return {n: thing for n, thing in visible.unique.items() if n not in situation.named}


Made = tuple[str, str] | None
_Maker = Callable[[Rng, Visibility, Situation], Made]


def _side(rng: Rng, visible: Visibility, situation: Situation) -> Made:
    wanted = rng.pick(("left", "right"))
    things = _askable(visible, situation).items()
    fits = [n for n, thing in things if sector(situation, thing) == f"on my {wanted}"]
    return (f"Is the {rng.pick(fits)} on my left or on my right?", wanted) if fits else None


def _behind(rng: Rng, visible: Visibility, situation: Situation) -> Made:
    wanted = rng.chance(0.5)
    known = {n: sector(situation, thing) for n, thing in _askable(visible, situation).items()}
    fits = {
        answer: [n for n, where in known.items() if where is not None and (where == "behind me") == answer]
        for answer in (True, False)
    }
    # Asked only where both answers are possible: else "no" would be the likelier one.
    possible = fits[True] and fits[False]
    return (f"Is the {rng.pick(fits[wanted])} behind me?", "yes" if wanted else "no") if possible else None


def _colour(rng: Rng, visible: Visibility, situation: Situation) -> Made:
    """Of a category that is in this quarter once, and whose copies are all plainly somewhere."""
    fits = []
    for name, things in visible.room.by_category.items():
        where = [sector(situation, t) for t in things]
        for side in _SECTORS:
            mine = [t for t, w in zip(things, where, strict=True) if w == side]
            if (
                None not in where
                and name not in situation.named
                and len(mine) == 1
                and mine[0].id in visible.shown
                and len(KINDS[name].colours) > 2
            ):
                fits.append((f"What color is the {name} {side}?", mine[0].colour))
    return rng.pick(fits) if fits else None


def _count(rng: Rng, visible: Visibility, situation: Situation) -> Made:
    """The number is drawn first; nothing of the category may be unseen or near a border."""
    fits: dict[int, list[str]] = {}
    for name, things in visible.room.by_category.items():
        where = [sector(situation, t) for t in things]
        if len(things) > 1 and None not in where and visible.shows(things):
            for side in _SECTORS:
                fits.setdefault(where.count(side), []).append(f"How many {plural(name)} are {side}?")
    several = [number for number in sorted(fits) if number > 1]
    number = rng.pick(several if several and rng.chance(0.6) else sorted(fits)) if fits else 0
    return (rng.pick(fits[number]), WORDS[number]) if fits else None


def _can(rng: Rng, visible: Visibility, situation: Situation) -> Made:
    wanted = rng.chance(0.5)
    angles = {n: abs(situation.angle(thing)) for n, thing in _askable(visible, situation).items()}
    ahead = [n for n, angle in angles.items() if angle < 75]
    back = [n for n, angle in angles.items() if angle > 105]
    text = "Can I see the {} without turning by more than ninety degrees?"
    name = rng.pick(ahead if wanted else back) if ahead and back else ""
    return (text.format(name), "yes" if wanted else "no") if name else None


def _which(rng: Rng, visible: Visibility, situation: Situation) -> Made:
    things = _askable(visible, situation)
    names = rng.some(sorted(things), 2)
    metres = [situation.distance(things[n]) for n in names]
    if len(names) < 2 or abs(metres[0] - metres[1]) < 0.4:
        return None
    nearer = names[0] if metres[0] < metres[1] else names[1]
    return f"Which is closer to me, the {names[0]} or the {names[1]}?", nearer


def _turn(rng: Rng, visible: Visibility, situation: Situation) -> Made:
    wanted = rng.pick(("left", "right"))
    angles = {n: situation.angle(thing) for n, thing in _askable(visible, situation).items()}
    fits = [n for n, a in angles.items() if 30 <= abs(a) <= 150 and (a > 0) == (wanted == "left")]
    return (f"Should I turn left or right to face the {rng.pick(fits)}?", wanted) if fits else None


def _what(rng: Rng, visible: Visibility, situation: Situation) -> Made:
    """The only one of three named kinds that is in a quarter."""
    where = {n: sector(situation, thing) for n, thing in _askable(visible, situation).items()}
    side = rng.pick(list(_SECTORS))
    there = [n for n, w in where.items() if w == side]
    others = [n for n, w in where.items() if w is not None and w != side]
    if not there or len(others) < 2:
        return None
    right = rng.pick(there)
    a, b, c = rng.some([right, *rng.some(others, 2)])
    return f"What is {side}, {article(a)} {a}, {article(b)} {b} or {article(c)} {c}?", right


_MAKERS: tuple[_Maker, ...] = (_side, _behind, _colour, _count, _can, _which, _turn, _what)
