"""Plain questions as a person types them, with short answers: what `vega3d ask` users write.

The same facts as questions.py, asked without options and in varied wording, plus what VSI-Bench does not
ask (colours, existence, a list of the room). They teach a small host to look; they are no benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from vega3d.rooms.catalogue import KINDS
from vega3d.rooms.questions import direction
from vega3d.rooms.relations import distance, floor_area, longest_side
from vega3d.rooms.renderer import Clip
from vega3d.rooms.scene import ROOMS_VERSION, Room
from vega3d.rooms.seen import Seen, look_through

FAMILIES = ("count", "colour", "exists", "list", "distance", "closer", "size", "area", "side", "first")

WORDINGS: dict[str, tuple[str, ...]] = {
    "count": ("How many {a}s are there?", "How many {a}s are in the room?", "How many {a}s do you see?",
              "Count the {a}s.", "What is the number of {a}s in this video?"),
    "colour": ("What color is the {a}?", "What colour is the {a}?", "Which color does the {a} have?",
               "What is the color of the {a}?"),
    "exists": ("Is there a {a}?", "Is there a {a} in the room?", "Do you see a {a}?",
               "Can you see a {a} in the video?"),
    "list": ("What is in this room?", "What objects are in the room?", "Describe the room.",
             "List the objects.", "What do you see?"),
    "distance": ("How far is the {a} from the {b}?", "How far apart are the {a} and the {b}?",
                 "What is the distance between the {a} and the {b}?",
                 "How many meters from the {a} to the {b}?"),
    "closer": ("What is closer to the {a}, the {b} or the {c}?",
               "Which is closer to the {a}: the {b} or the {c}?",
               "Is the {b} or the {c} closer to the {a}?", "Which is nearer to the {a}, the {b} or the {c}?"),
    "size": ("How big is the {a}?", "How long is the longest side of the {a} in centimeters?",
             "How large is the {a} in cm?"),
    "area": ("How big is the room?", "What is the area of the room?",
             "How large is this room in square meters?",
             "What is the size of the room?"),
    "side": ("Standing by the {a} and facing the {b}, is the {c} on the left or the right?",
             "If I stand at the {a} and look at the {b}, is the {c} to my left or right?",
             "From the {a}, facing the {b}, where is the {c}: left or right?"),
    "first": ("What appears first, the {a} or the {b}?",
              "Which appears first in the video: the {a} or the {b}?",
              "Do you see the {a} or the {b} first?"),
}  # fmt: skip
"""Wordings by family; {a}, {b}, {c} are categories."""


@dataclass(frozen=True)
class PlainQuestion:
    """A question as typed, and its short answer."""

    family: str
    question: str
    answer: str


def plain_questions(room: Room, clip: Clip, *, per_family: int = 2, draw: int = 0) -> list[PlainQuestion]:
    """At most ``per_family`` plain questions of each family; another ``draw`` gives others."""
    rng = np.random.default_rng([ROOMS_VERSION, room.seed, 3, draw])
    seen = look_through(room, clip)
    asked = []
    for family in FAMILIES:
        facts = _FACTS[family](rng, room, seen)
        for i in rng.permutation(len(facts))[:per_family]:
            names, answer = facts[int(i)]
            wording = WORDINGS[family][int(rng.integers(len(WORDINGS[family])))]
            text = wording.format(**dict(zip("abc", names, strict=False)))
            asked.append(PlainQuestion(family, text, answer))
    return asked


Facts = list[tuple[Sequence[str], str]]


def _count(rng: np.random.Generator, room: Room, seen: Seen) -> Facts:
    facts: Facts = [([n], str(len(things))) for n, things in seen.categories.items() if len(things) > 1]
    return facts + _one(rng, [([n], "1") for n in seen.unique])


def _colour(rng: np.random.Generator, room: Room, seen: Seen) -> Facts:
    return [([n], thing.colour) for n, thing in seen.unique.items()]


def _exists(rng: np.random.Generator, room: Room, seen: Seen) -> Facts:
    """As many yes as no; a category that is in the room but not seen is not asked about."""
    absent: Facts = [([n], "no") for n in KINDS if n not in room.by_category]
    present: Facts = [([n], "yes") for n in seen.categories]
    size = min(len(absent), len(present))
    return [facts[int(i)] for facts in (absent, present) for i in rng.permutation(len(facts))[:size]]


def _list(rng: np.random.Generator, room: Room, seen: Seen) -> Facts:
    """Every seen category with its number, and its colour where it is single, in alphabetical order."""
    words = [
        f"{len(things)} {n}s" if len(things) > 1 else f"{things[0].colour} {n}"
        for n, things in seen.categories.items()
    ]
    return [([], ", ".join(words))] if words else []


def _distance(rng: np.random.Generator, room: Room, seen: Seen) -> Facts:
    pairs = list(permutations(seen.unique, 2))
    chosen = [pairs[int(i)] for i in rng.permutation(len(pairs))[:4]]
    return [(pair, f"{distance(*(seen.unique[n] for n in pair)):.1f}") for pair in chosen]


def _closer(rng: np.random.Generator, room: Room, seen: Seen) -> Facts:
    triples = list(permutations(seen.unique, 3))
    facts: Facts = []
    for i in rng.permutation(len(triples))[:6]:
        a, b, c = triples[int(i)]
        to_b, to_c = (distance(seen.unique[a], seen.unique[n]) for n in (b, c))
        if abs(to_b - to_c) >= 0.3:
            facts.append(((a, b, c), b if to_b < to_c else c))
    return facts


def _size(rng: np.random.Generator, room: Room, seen: Seen) -> Facts:
    return [([n], str(round(100 * longest_side(thing)))) for n, thing in seen.unique.items()]


def _area(rng: np.random.Generator, room: Room, seen: Seen) -> Facts:
    return [([], f"{floor_area(room):.1f}")]


def _side(rng: np.random.Generator, room: Room, seen: Seen) -> Facts:
    sides = {
        names: direction("easy", *(seen.unique[n] for n in names)) for names in permutations(seen.unique, 3)
    }
    found: Facts = [(names, word) for names, word in sides.items() if word is not None]
    return [fact for word in ("left", "right") for fact in _one(rng, [f for f in found if f[1] == word])]


def _first(rng: np.random.Generator, room: Room, seen: Seen) -> Facts:
    spans = {n: (seen.first_frame([t]), n) for n, t in seen.unique.items()}
    pairs: Facts = []
    for a, b in permutations(seen.unique, 2):
        early, late = spans[a][0], spans[b][0]
        if early is not None and late is not None and late - early >= len(seen.coverage) // 8:
            pairs += [((a, b) if rng.random() < 0.5 else (b, a), a)]
    return pairs


def _one(rng: np.random.Generator, facts: Facts) -> Facts:
    return [facts[int(rng.integers(len(facts)))]] if facts else []


_FACTS = {
    "count": _count, "colour": _colour, "exists": _exists, "list": _list, "distance": _distance,
    "closer": _closer, "size": _size, "area": _area, "side": _side, "first": _first,
}  # fmt: skip
