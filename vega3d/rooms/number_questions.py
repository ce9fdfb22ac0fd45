"""Facts with numbers: how many, how far, how long, how large.

Decision: the *answer's* range is drawn first, then a question that has it. So counts are about even,
distances spread over their range, and sizes keep to a window that many kinds share: a name alone gives
nothing away.
"""

from __future__ import annotations

from itertools import combinations

from vega3d.rooms.furniture import COMMON, KINDS
from vega3d.rooms.relations import floor_area, longest_side
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Room
from vega3d.rooms.visibility import QuestionDraft, Visibility

_COUNTS = {1: 0.2, 2: 0.4, 3: 0.7, 4: 1.0, 5: 1.0}
"""Probability by count that it is asked about in a room; most rooms have something that is alone."""
_METRES = (0.3, 0.8, 1.3, 1.9, 2.6, 3.4, 6.0)


def may_be_counted(category: str) -> bool:
    """True if rooms hold one to five of these about equally often: else the name gives the number away."""
    kind = KINDS[category]
    return kind.crowd and kind.place != "hung"


def counting(rng: Rng, room: Room, visible: Visibility, most: int) -> list[QuestionDraft]:
    """Classes (numbers) in random order, then a category of that number."""
    drafts: list[QuestionDraft] = []
    for number in rng.some(list(_COUNTS)):
        names = [n for n, things in visible.categories.items() if len(things) == number and may_be_counted(n)]
        if names and len(drafts) < most and rng.chance(_COUNTS[number]):
            text = f"How many {rng.pick(names)}(s) are in this room?"
            drafts.append(QuestionDraft("object_counting", text, str(number)))
    return drafts


def abs_distance(rng: Rng, room: Room, visible: Visibility, most: int) -> list[QuestionDraft]:
    """A range of metres first, then a pair that far apart."""
    pairs = [(a, b, visible.distance(a, b)) for a, b in combinations(sorted(visible.unique), 2)]
    drafts: list[QuestionDraft] = []
    for i in rng.some(range(len(_METRES) - 1)):
        inside = [pair for pair in pairs if _METRES[i] <= pair[2] < _METRES[i + 1]]
        if inside and len(drafts) < most:
            *names, metres = rng.pick(inside)
            a, b = rng.some([str(name) for name in names])
            text = (
                "Measuring from the closest point of each object, what is the distance between "
                f"the {a} and the {b} (in meters)?"
            )
            drafts.append(QuestionDraft("object_abs_distance", text, f"{metres:.1f}"))
    return drafts


def size(rng: Rng, room: Room, visible: Visibility, most: int) -> list[QuestionDraft]:
    """Things inside the window that their whole kind covers."""
    low, high = COMMON
    known = [
        name
        for name, thing in sorted(visible.unique.items())
        if low <= longest_side(thing) <= high and covers_window(name)
    ]
    return [
        QuestionDraft(
            "object_size_estimation",
            "What is the length of the longest dimension (length, width, or height) of the "
            f"{name}, measured in centimeters?",
            str(round(100 * longest_side(visible.unique[name]))),
        )
        for name in rng.some(known, most)
    ]


def covers_window(category: str) -> bool:
    """True if this kind's longest side takes every value of the common window, by the same law."""
    low, high = KINDS[category].longest
    return low <= COMMON[0] and high >= COMMON[1]


def room_size(rng: Rng, room: Room, visible: Visibility, most: int) -> list[QuestionDraft]:
    """One question a room."""
    text = (
        "What is the size of this room (in square meters)? If multiple rooms are shown, estimate the size "
        "of the combined space."
    )
    return [QuestionDraft("room_size_estimation", text, f"{floor_area(room):.1f}")]
