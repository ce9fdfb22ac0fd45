"""Questions with exact answers, in VSI-Bench's record format and wording.

Decision: only what the clip shows may be asked (seen.py), answers come from the scene graph alone
(relations.py), and whatever is near a decision boundary is not asked. Right letters and right directions
are drawn first and options arranged around them, so that neither position nor class gives an answer away.
``route_planning`` is not made (it needs human-like instructions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import TypeVar

import numpy as np

from vega3d.rooms.relations import bearing, distance, floor_area, floor_distance, longest_side
from vega3d.rooms.renderer import Clip
from vega3d.rooms.scene import ROOMS_VERSION, Instance, Room
from vega3d.rooms.seen import SEEN, Seen, look_through

T = TypeVar("T")

MULTIPLE_CHOICE = (
    "object_rel_distance",
    "object_rel_direction_easy",
    "object_rel_direction_medium",
    "object_rel_direction_hard",
    "obj_appearance_order",
)
NUMERIC = ("object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation")
QUESTION_TYPES = NUMERIC + MULTIPLE_CHOICE

PRE_PROMPT = "These are frames of a video."
POST_PROMPT_CHOICE = "Answer with the option's letter from the given choices directly."
POST_PROMPT_NUMBER = "Please answer the question using a single word or phrase."

_DIRECTION_TAIL = {
    "easy": "to the left or the right of the {facing}?",
    "medium": "to my left, right, or back? An object is to my back if I would have to turn at least 135 "
    "degrees in order to face it.",
    "hard": "to my front-left, front-right, back-left, or back-right? The directions refer to the quadrants "
    "of a Cartesian plane (if I am standing at the origin and facing along the positive y-axis).",
}
_DIRECTIONS = {
    "easy": ("left", "right"),
    "medium": ("left", "right", "back"),
    "hard": ("front-left", "front-right", "back-left", "back-right"),
}


@dataclass(frozen=True)
class Question:
    """One VSI-Bench row; ``options`` is None for numeric answers, ``ground_truth`` a letter or a number."""

    id: int
    dataset: str
    scene_name: str
    question_type: str
    question: str
    options: tuple[str, ...] | None
    ground_truth: str

    def to_record(self) -> dict[str, object]:
        """The row as JSON-ready values, keys in VSI-Bench's order."""
        return {
            "id": self.id,
            "dataset": self.dataset,
            "scene_name": self.scene_name,
            "question_type": self.question_type,
            "question": self.question,
            "options": None if self.options is None else list(self.options),
            "ground_truth": self.ground_truth,
        }

    def prompt(self) -> str:
        """The user text exactly as VSI-Bench sends it (after the frames)."""
        if self.options is None:
            return f"{PRE_PROMPT}\n{self.question}\n{POST_PROMPT_NUMBER}"
        return "\n".join([PRE_PROMPT, self.question, "Options:", *self.options, POST_PROMPT_CHOICE])


@dataclass(frozen=True)
class _Draft:
    """A question before it has a row: the right option is ``options[right]``, or ``answer`` a number."""

    question_type: str
    question: str
    answer: str = ""
    options: tuple[str, ...] = ()


def make_questions(room: Room, clip: Clip, *, per_type: int = 2, first_id: int = 0) -> list[Question]:
    """At most ``per_type`` questions of each type about what the clip shows; deterministic.

    Args:
        room: the room that was filmed.
        clip: its clip; should hold the whole video, so that appearance orders are right.
        per_type: most questions of one type (one of room size).
        first_id: id of the first question.
    """
    rng = np.random.default_rng([ROOMS_VERSION, room.seed, 2])
    seen = look_through(room, clip)
    drafts: list[_Draft] = []
    for make in _MAKERS:
        drafts += make(rng, room, seen, per_type)
    return [_finish(rng, room, draft, first_id + i) for i, draft in enumerate(drafts)]


def _finish(rng: np.random.Generator, room: Room, draft: _Draft, number: int) -> Question:
    """Shuffle the options (the first one is right) and letter them."""
    if not draft.options:
        return Question(number, "rooms", room.name, draft.question_type, draft.question, None, draft.answer)
    order = rng.permutation(len(draft.options))
    options = tuple(f"{'ABCD'[i]}. {draft.options[k]}" for i, k in enumerate(order))
    letter = "ABCD"[int(np.flatnonzero(order == 0)[0])]
    return Question(number, "rooms", room.name, draft.question_type, draft.question, options, letter)


def _counting(rng: np.random.Generator, room: Room, seen: Seen, most: int) -> list[_Draft]:
    """Every repeated category, and a single one only now and then: counts 1 to 4 about equally often."""
    names = [n for n, things in seen.categories.items() if len(things) > 1]
    singles = sorted(seen.unique)
    if singles and rng.random() < 0.5:
        names.append(str(rng.choice(singles)))
    return [
        _Draft("object_counting", f"How many {n}(s) are in this room?", str(len(seen.categories[n])))
        for n in _some(rng, names, most)
    ]


def _abs_distance(rng: np.random.Generator, room: Room, seen: Seen, most: int) -> list[_Draft]:
    drafts: list[_Draft] = []
    for a, b in _some(rng, list(permutations(sorted(seen.unique), 2)), 3 * most):
        metres = distance(seen.unique[a], seen.unique[b])
        if metres >= 0.3 and len(drafts) < most:
            text = (
                "Measuring from the closest point of each object, what is the distance between "
                f"the {a} and the {b} (in meters)?"
            )
            drafts.append(_Draft("object_abs_distance", text, f"{metres:.1f}"))
    return drafts


def _size(rng: np.random.Generator, room: Room, seen: Seen, most: int) -> list[_Draft]:
    return [
        _Draft(
            "object_size_estimation",
            "What is the length of the longest dimension (length, width, or height) of the "
            f"{name}, measured in centimeters?",
            str(round(100 * longest_side(seen.unique[name]))),
        )
        for name in _some(rng, sorted(seen.unique), most)
    ]


def _room_size(rng: np.random.Generator, room: Room, seen: Seen, most: int) -> list[_Draft]:
    text = (
        "What is the size of this room (in square meters)? If multiple rooms are shown, estimate the size "
        "of the combined space."
    )
    return [_Draft("room_size_estimation", text, f"{floor_area(room):.1f}")]


def _rel_distance(rng: np.random.Generator, room: Room, seen: Seen, most: int) -> list[_Draft]:
    """Four things and a target; the closest leads by 0.3 m at least."""
    drafts: list[_Draft] = []
    for target in _some(rng, sorted(seen.unique), len(seen.unique)):
        others = _some(rng, sorted(set(seen.unique) - {target}), 4)
        if len(others) < 4 or len(drafts) == most:
            continue
        metres = {name: distance(seen.unique[target], seen.unique[name]) for name in others}
        ranked = sorted(others, key=lambda name: metres[name])
        if metres[ranked[1]] - metres[ranked[0]] < 0.3:
            continue
        text = (
            "Measuring from the closest point of each object, which of these objects "
            f"({', '.join(sorted(others))}) is the closest to the {target}?"
        )
        drafts.append(_Draft("object_rel_distance", text, options=tuple(ranked)))
    return drafts


def _direction(level: str) -> Callable[[np.random.Generator, Room, Seen, int], list[_Draft]]:
    def make(rng: np.random.Generator, room: Room, seen: Seen, most: int) -> list[_Draft]:
        found: dict[str, list[tuple[str, str, str]]] = {}
        for names in permutations(sorted(seen.unique), 3):
            word = direction(level, *(seen.unique[n] for n in names))
            if word is not None:
                found.setdefault(word, []).append(names)
        drafts = []
        for word in _some(rng, sorted(found), most):  # class first, then an example of it
            standing, facing, query = found[word][int(rng.integers(len(found[word])))]
            text = f"If I am standing by the {standing} and facing the {facing}, is the {query} "
            text += _DIRECTION_TAIL[level].format(facing=facing)
            rest = [w for w in _DIRECTIONS[level] if w != word]
            drafts.append(_Draft(f"object_rel_direction_{level}", text, options=(word, *rest)))
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


def _appearance(rng: np.random.Generator, room: Room, seen: Seen, most: int) -> list[_Draft]:
    """Four categories whose first frames are well apart, whatever threshold "visible" has."""
    firsts = {name: first_appearance(seen, things) for name, things in seen.categories.items()}
    known = {name: span for name, span in firsts.items() if span is not None}
    lead = max(1, len(seen.coverage) // 12)  # frames between "a is plainly there" and "b begins to show"
    drafts: list[_Draft] = []
    for _ in range(10 * most):
        names = sorted(_some(rng, sorted(known), 4), key=lambda name: known[name])
        apart = all(known[b][0] - known[a][1] >= lead for a, b in pairwise(names))
        if len(names) < 4 or not apart or len(drafts) == most:
            continue
        asked = _some(rng, names, 4)
        text = (
            "What will be the first-time appearance order of the following categories in the video: "
            f"{', '.join(asked)}?"
        )
        orders = [order for order in permutations(names) if order != tuple(names)]
        wrong = [orders[int(i)] for i in rng.choice(len(orders), 3, replace=False)]
        options = tuple(", ".join(order) for order in [tuple(names), *wrong])
        drafts.append(_Draft("obj_appearance_order", text, options=options))
    return drafts


def first_appearance(seen: Seen, things: list[Instance]) -> tuple[int, int] | None:
    """First frames in which a category covers a quarter of the threshold, and twice it; None if never."""
    early, late = seen.first_frame(things, SEEN / 4), seen.first_frame(things, SEEN * 2)
    return None if early is None or late is None else (early, late)


def _some(rng: np.random.Generator, items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of the items, in random order."""
    return [items[int(i)] for i in rng.permutation(len(items))[:most]]


_MAKERS = (
    _counting,
    _abs_distance,
    _size,
    _room_size,
    _rel_distance,
    _direction("easy"),
    _direction("medium"),
    _direction("hard"),
    _appearance,
)
