"""Questions with exact answers, in VSI-Bench's record format and wording, of all its types.

Decision: only what the clip shows may be asked, answers come from the scene graph alone (facts.py), and
whatever is near a decision boundary is not asked: the closest leads by 0.3 m, directions keep clear of the
lines between sectors, first appearances are well apart whatever threshold "visible" has. Right letters,
counts, directions and ranges of distance are drawn first and questions looked for that have them; sizes keep
to a window that many kinds share. So neither position nor class nor wording gives an answer away. Routes come
from route_questions.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise, permutations

import numpy as np

from vega3d.rooms.facts import SEEN, QuestionDraft, QuestionMaker, Visibility, floor_distance, turn
from vega3d.rooms.furniture import COMMON, KINDS
from vega3d.rooms.renderer import Clip
from vega3d.rooms.rng import Rng
from vega3d.rooms.route_questions import route
from vega3d.rooms.scene import Instance, Room, grouped

DIRECTIONS = {
    "easy": ("left", "right"),
    "medium": ("left", "right", "back"),
    "hard": ("front-left", "front-right", "back-left", "back-right"),
}
_DIRECTION_TYPES = tuple(f"object_rel_direction_{level}" for level in DIRECTIONS)
MULTIPLE_CHOICE = ("object_rel_distance", *_DIRECTION_TYPES, "obj_appearance_order", "route_planning")
NUMERIC = ("object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation")
QUESTION_TYPES = NUMERIC + MULTIPLE_CHOICE

PRE_PROMPT = "These are frames of a video."
POST_PROMPT_CHOICE = "Answer with the option's letter from the given choices directly."
POST_PROMPT_NUMBER = "Please answer the question using a single word or phrase."

LONGEST = (
    "What is the length of the longest dimension (length, width, or height) of the {}, "
    "measured in centimeters?"
)
_COUNTS = {1: 0.2, 2: 0.4, 3: 0.7, 4: 1.0, 5: 1.0}
"""Probability by count that it is asked about in a room; most rooms have something that is alone."""
_METRES = (0.3, 0.8, 1.3, 1.9, 2.6, 3.4, 6.0)
_TAIL = {
    "easy": "to the left or the right of the {facing}?",
    "medium": "to my left, right, or back? An object is to my back if I would have to turn at least 135 "
    "degrees in order to face it.",
    "hard": "to my front-left, front-right, back-left, or back-right? The directions refer to the quadrants "
    "of a Cartesian plane (if I am standing at the origin and facing along the positive y-axis).",
}
_EARLY = {"floor": 3, "top": 2, "wall": 1, "hung": 0}
"""Rank by place of how early a kind is in view, 3 is first: the order of the means over 220 rooms."""
_LEAD = 0.3  # metres between the closest and the next


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
        return {**vars(self), "options": None if self.options is None else list(self.options)}

    def prompt(self) -> str:
        """The user text exactly as VSI-Bench sends it (after the frames)."""
        if self.options is None:
            return f"{PRE_PROMPT}\n{self.question}\n{POST_PROMPT_NUMBER}"
        return "\n".join([PRE_PROMPT, self.question, "Options:", *self.options, POST_PROMPT_CHOICE])


def make_questions(room: Room, clip: Clip, *, per_type: int = 2, draw: int = 0) -> list[Question]:
    """At most ``per_type`` questions of each type about what the clip shows; deterministic.

    Args:
        room: the room that was filmed.
        clip: its clip; should hold the whole video, so that appearance orders are right.
        per_type: most questions of one type (one of room size).
        draw: another one asks other questions.
    """
    rng, visible = Rng(room.version, room.seed, 2, draw), Visibility(room, clip.ids)
    drafts = [draft for make in _MAKERS for draft in make(rng, visible, per_type)]
    return [_finish(rng, room, draft, number) for number, draft in enumerate(drafts)]


def _finish(rng: Rng, room: Room, draft: QuestionDraft, number: int) -> Question:
    """Shuffle the options (the first one is right) and letter them."""
    kind, text, answer = draft
    if isinstance(answer, str):
        return Question(number, "rooms", room.name, kind, text, None, answer)
    order = rng.some(range(len(answer)))
    options = tuple(f"{'ABCD'[i]}. {answer[k]}" for i, k in enumerate(order))
    return Question(number, "rooms", room.name, kind, text, options, "ABCD"[order.index(0)])


def counting(rng: Rng, visible: Visibility, most: int) -> list[QuestionDraft]:
    """Classes (numbers) in random order, then a category of that number.

    Rooms hold one to five of these about equally often; else the name would give the number away.
    """
    kinds = [n for n in visible.categories if KINDS[n].crowd and KINDS[n].place != "hung"]
    drafts: list[QuestionDraft] = []
    for number in rng.some(_COUNTS):
        names = [name for name in kinds if len(visible.categories[name]) == number]
        if names and len(drafts) < most and rng.chance(_COUNTS[number]):
            text = f"How many {rng.pick(names)}(s) are in this room?"
            drafts.append(("object_counting", text, str(number)))
    return drafts


def abs_distance(rng: Rng, visible: Visibility, most: int) -> list[QuestionDraft]:
    """A range of metres first, then a pair that far apart."""
    pairs = [(pair, visible.distance(*pair)) for pair in combinations(visible.unique.values(), 2)]
    drafts: list[QuestionDraft] = []
    for low, high in rng.some(pairwise(_METRES)):
        inside = [(pair, metres) for pair, metres in pairs if low <= metres < high]
        if inside and len(drafts) < most:
            pair, metres = rng.pick(inside)
            a, b = rng.some([thing.category for thing in pair])
            text = (
                "Measuring from the closest point of each object, what is the distance between "
                f"the {a} and the {b} (in meters)?"
            )
            drafts.append(("object_abs_distance", text, f"{metres:.1f}"))
    return drafts


def size(rng: Rng, visible: Visibility, most: int) -> list[QuestionDraft]:
    """Things inside the window that their whole kind covers, by the same law."""
    low, high = COMMON
    kinds = {name for name, kind in KINDS.items() if kind.longest[0] <= low and kind.longest[1] >= high}
    sides = {name: max(thing.box.size) for name, thing in visible.unique.items() if name in kinds}
    return [
        ("object_size_estimation", LONGEST.format(name), str(round(100 * sides[name])))
        for name in rng.some([name for name, side in sides.items() if low <= side <= high], most)
    ]


def room_size(rng: Rng, visible: Visibility, most: int) -> list[QuestionDraft]:
    """One question a room."""
    text = (
        "What is the size of this room (in square meters)? If multiple rooms are shown, estimate the size "
        "of the combined space."
    )
    return [("room_size_estimation", text, f"{visible.room.size[0] * visible.room.size[1]:.1f}")]


def rel_distance(rng: Rng, visible: Visibility, most: int) -> list[QuestionDraft]:
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
        drafts.append(("object_rel_distance", text, ranked))
    return drafts


def _winners(visible: Visibility, others: list[str]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Closest of ``others`` -> targets for which it is closest by far, with the others ranked."""
    winners: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for target in [name for name in visible.unique if name not in others]:
        metres = {name: visible.distance(visible.unique[target], visible.unique[name]) for name in others}
        ranked = tuple(sorted(others, key=lambda name: metres[name]))
        if len(ranked) == 4 and metres[ranked[1]] - metres[ranked[0]] >= _LEAD:
            winners.setdefault(ranked[0], []).append((target, ranked))
    return winners


def directions(level: str, rng: Rng, visible: Visibility, most: int) -> list[QuestionDraft]:
    """A direction of this level first, then three things that have it."""
    triples = grouped((direction(level, *trio), trio) for trio in permutations(visible.unique.values(), 3))
    drafts: list[QuestionDraft] = []
    for word in rng.some(sorted(triples), most):
        standing, facing, query = (thing.category for thing in rng.pick(triples[word]))
        text = f"If I am standing by the {standing} and facing the {facing}, is the {query} "
        text += _TAIL[level].format(facing=facing)
        options = (word, *(other for other in DIRECTIONS[level] if other != word))
        drafts.append((f"object_rel_direction_{level}", text, options))
    return drafts


def direction(level: str, standing: Instance, facing: Instance, query: Instance) -> str | None:
    """The word for where ``query`` is, or None where things are too close or the angle is a close call."""
    if min(floor_distance(standing, facing), floor_distance(standing, query)) < 0.9:
        return None
    here, ahead, there = (np.asarray(thing.box.centre[:2]) for thing in (standing, facing, query))
    angle = turn(ahead - here, there - here)  # to the left, from facing one thing to facing the other
    side, size = ("left" if angle > 0 else "right"), abs(angle)
    if level == "hard":
        clear = 15 <= size <= 75 or 105 <= size <= 165
        return f"{'front' if size < 90 else 'back'}-{side}" if clear else None
    if level == "medium":
        return "back" if size > 145 else side if 45 <= size < 125 else None
    return side if 20 <= size <= 135 else None


def appearance(rng: Rng, visible: Visibility, most: int) -> list[QuestionDraft]:
    """Four categories whose first frames are well apart.

    What stands free comes into view before what hangs; so which of them is to come first is drawn beforehand.
    """
    known = {}  # first frames in which a category covers a quarter of the threshold, and twice it
    for name, things in visible.categories.items():
        early, late = (visible.first_frame(things, SEEN * share) for share in (0.25, 2))
        if early is not None and late is not None:
            known[name] = (early, late)
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
        drafts.append(("obj_appearance_order", text, options))
    return drafts


def _lean(names: list[str]) -> int:
    """Above 0 if what stands free comes rather early in an order of four, below 0 if late, else 0."""
    places = [_EARLY[KINDS[name].place] for name in names]
    return sum(weight * place for weight, place in zip((3, 1, -1, -3), places, strict=True))


_MAKERS: tuple[QuestionMaker, ...] = (
    *(counting, abs_distance, size, room_size, rel_distance),
    *(partial(directions, level) for level in DIRECTIONS),
    *(appearance, route),
)
