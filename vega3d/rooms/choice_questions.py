"""Facts with options: which is closest, where it is, what came first.

Nothing near a decision boundary is a fact here: the closest leads by 0.3 m, directions keep clear of the
lines between sectors, first appearances are well apart whatever threshold "visible" has.
"""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Literal

from vega3d.rooms.furniture import KINDS
from vega3d.rooms.relations import bearing, floor_distance
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance, Room
from vega3d.rooms.visibility import SEEN, QuestionDraft, QuestionMaker, Visibility

Level = Literal["easy", "medium", "hard"]

_TAIL = {
    "easy": "to the left or the right of the {facing}?",
    "medium": "to my left, right, or back? An object is to my back if I would have to turn at least 135 "
    "degrees in order to face it.",
    "hard": "to my front-left, front-right, back-left, or back-right? The directions refer to the quadrants "
    "of a Cartesian plane (if I am standing at the origin and facing along the positive y-axis).",
}
DIRECTIONS = {
    "easy": ("left", "right"),
    "medium": ("left", "right", "back"),
    "hard": ("front-left", "front-right", "back-left", "back-right"),
}
_EARLY = {"floor": 3, "top": 2, "wall": 1, "hung": 0}
"""Rank by place of how early a kind is in view, 3 is first: the order of the means over 220 rooms."""
_LEAD = 0.3  # metres between the closest and the next


def rel_distance(rng: Rng, room: Room, visible: Visibility, most: int) -> list[QuestionDraft]:
    """Four things first, then which of them is closest, then a target for which that is so.

    Large things are close to everything; so only sets are asked about in which each of the four can win.
    """
    drafts: list[QuestionDraft] = []
    for _ in range(20 * most):
        others = rng.some(sorted(visible.unique), 4)
        winners = _winners(visible, others)
        if len(winners) < 4 or len(drafts) == most:
            continue
        target, ranked = rng.pick(winners[rng.pick(sorted(winners))])
        text = (
            "Measuring from the closest point of each object, which of these objects "
            f"({', '.join(sorted(others))}) is the closest to the {target}?"
        )
        drafts.append(QuestionDraft("object_rel_distance", text, options=ranked))
    return drafts


def _winners(visible: Visibility, others: list[str]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Closest of ``others`` -> targets for which it is closest by far, with the others ranked."""
    winners: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for target in sorted(set(visible.unique) - set(others)):
        metres = {name: visible.distance(target, name) for name in others}
        ranked = tuple(sorted(others, key=lambda name: metres[name]))
        if len(ranked) == 4 and metres[ranked[1]] - metres[ranked[0]] >= _LEAD:
            winners.setdefault(ranked[0], []).append((target, ranked))
    return winners


def direction_maker(level: Level) -> QuestionMaker:
    """The maker of one level: a direction first, then three things that have it."""

    def make(rng: Rng, room: Room, visible: Visibility, most: int) -> list[QuestionDraft]:
        triples: dict[str, list[tuple[str, ...]]] = {}
        for names in permutations(sorted(visible.unique), 3):
            word = direction(level, *(visible.unique[n] for n in names))
            if word is not None:
                triples.setdefault(word, []).append(names)
        drafts = []
        for word in rng.some(sorted(triples), most):
            standing, facing, query = rng.pick(triples[word])
            text = f"If I am standing by the {standing} and facing the {facing}, is the {query} "
            text += _TAIL[level].format(facing=facing)
            rest = [w for w in DIRECTIONS[level] if w != word]
            drafts.append(QuestionDraft(f"object_rel_direction_{level}", text, options=(word, *rest)))
        return drafts

    return make


def direction(level: str, standing: Instance, facing: Instance, query: Instance) -> str | None:
    """The word for where ``query`` is, or None where things are too close or the angle is a close call."""
    if min(floor_distance(standing, facing), floor_distance(standing, query)) < 0.9:
        return None
    angle = bearing(standing, facing, query)
    side, turn = ("left" if angle > 0 else "right"), abs(angle)
    if level == "hard":
        clear = 15 <= turn <= 75 or 105 <= turn <= 165
        return f"{'front' if turn < 90 else 'back'}-{side}" if clear else None
    if level == "medium":
        return "back" if turn > 145 else side if 45 <= turn < 125 else None
    return side if 20 <= turn <= 135 else None


def appearance(rng: Rng, room: Room, visible: Visibility, most: int) -> list[QuestionDraft]:
    """Four categories whose first frames are well apart.

    What stands free comes into view before what hangs; so which of them is to come first is drawn beforehand.
    """
    firsts = {name: first_appearance(visible, things) for name, things in visible.categories.items()}
    known = {name: span for name, span in firsts.items() if span is not None}
    lead = max(1, len(visible.coverage) // 12)  # frames between "a is plainly there" and "b begins to show"
    drafts: list[QuestionDraft] = []
    wanted = rng.pick((-1, 1))
    for _ in range(20 * most):
        names = sorted(rng.some(sorted(known), 4), key=lambda name: known[name])
        apart = all(known[b][0] - known[a][1] >= lead for a, b in pairwise(names))
        if len(names) < 4 or not apart or len(drafts) == most or wanted * _lean(names) < 0:
            continue
        wanted = rng.pick((-1, 1))
        text = (
            "What will be the first-time appearance order of the following categories in the video: "
            f"{', '.join(rng.some(names))}?"
        )
        wrong = rng.some([order for order in permutations(names) if order != tuple(names)], 3)
        options = tuple(", ".join(order) for order in [tuple(names), *wrong])
        drafts.append(QuestionDraft("obj_appearance_order", text, options=options))
    return drafts


def _lean(names: list[str]) -> int:
    """Above 0 if what stands free comes rather early in an order of four, below 0 if late, else 0."""
    places = [_EARLY[KINDS[name].place] for name in names]
    return sum(weight * place for weight, place in zip((3, 1, -1, -3), places, strict=True))


def first_appearance(visible: Visibility, things: list[Instance]) -> tuple[int, int] | None:
    """First frames in which a category covers a quarter of the threshold, and twice it; None if never."""
    early, late = visible.first_frame(things, SEEN / 4), visible.first_frame(things, SEEN * 2)
    return None if early is None or late is None else (early, late)
