"""Plain questions as a person types them, with short answers, as users of `vega3d ask` write them.

The same facts as questions.py, asked without options and in varied wording, plus what VSI-Bench does not
ask (colours, existence, a list of the room). They train a small host to use its pictures; they are
not a benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from vega3d.rooms.choice_questions import direction
from vega3d.rooms.furniture import CATEGORIES, plural
from vega3d.rooms.relations import floor_area, longest_side
from vega3d.rooms.renderer import Clip
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Room
from vega3d.rooms.visibility import Visibility, visibility_of

FAMILIES = ("count", "colour", "exists", "list", "distance", "closer", "size", "area", "side", "first")

LISTED = 8
"""Most categories that a list of the room names."""

WORDINGS: dict[str, tuple[str, ...]] = {
    "count": ("How many {as} are there?", "How many {as} are in the room?", "How many {as} do you see?",
              "Count the {as}.", "What is the number of {as} in this video?"),
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
class ChatQuestion:
    """A question as typed, and its short answer."""

    family: str
    question: str
    answer: str


def make_chat_questions(room: Room, clip: Clip, *, per_family: int = 2, draw: int = 0) -> list[ChatQuestion]:
    """At most ``per_family`` plain questions of each family; another ``draw`` gives others."""
    rng = Rng(room.version, room.seed, 3, draw)
    visible = visibility_of(room, clip)
    asked = []
    for family in FAMILIES:
        facts = _FACTS[family](rng, room, visible)
        for names, answer in rng.some(facts, per_family):
            words = dict(zip("abc", names, strict=False))
            several = plural(names[0]) if names else ""
            text = rng.pick(WORDINGS[family]).format(**words, **{"as": several})
            asked.append(ChatQuestion(family, text, answer))
    return asked


Facts = list[tuple[Sequence[str], str]]


def _count(rng: Rng, room: Room, visible: Visibility) -> Facts:
    facts: Facts = [([n], str(len(things))) for n, things in visible.categories.items() if len(things) > 1]
    return facts + _one(rng, [([n], "1") for n in visible.unique])


def _colour(rng: Rng, room: Room, visible: Visibility) -> Facts:
    return [([n], thing.colour) for n, thing in visible.unique.items()]


def _exists(rng: Rng, room: Room, visible: Visibility) -> Facts:
    """As many yes as no; a category that is in the room but not seen is not asked about."""
    absent: Facts = [([n], "no") for n in CATEGORIES if n not in room.by_category]
    present: Facts = [([n], "yes") for n in visible.categories]
    size = min(len(absent), len(present))
    return rng.some(absent, size) + rng.some(present, size)


def _list(rng: Rng, room: Room, visible: Visibility) -> Facts:
    """The most visible categories with their numbers, or colours where they are single, by name."""
    best = {n: visible.coverage[:, [t.id for t in things]].max() for n, things in visible.categories.items()}
    shown = sorted(sorted(best, key=lambda n: -best[n])[:LISTED])
    words = [
        f"{len(things)} {plural(n)}" if len(things) > 1 else f"{things[0].colour} {n}"
        for n, things in ((n, visible.categories[n]) for n in shown)
    ]
    return [([], ", ".join(words))] if words else []


def _distance(rng: Rng, room: Room, visible: Visibility) -> Facts:
    pairs = [(a, b) for a, b in permutations(visible.unique, 2)]
    chosen = rng.some(pairs, 4)
    return [(pair, f"{visible.distance(*pair):.1f}") for pair in chosen]


def _closer(rng: Rng, room: Room, visible: Visibility) -> Facts:
    triples = list(permutations(visible.unique, 3))
    facts: Facts = []
    for a, b, c in rng.some(triples, 6):
        to_b, to_c = (visible.distance(a, n) for n in (b, c))
        if abs(to_b - to_c) >= 0.3:
            facts.append(((a, b, c), b if to_b < to_c else c))
    return facts


def _size(rng: Rng, room: Room, visible: Visibility) -> Facts:
    return [([n], str(round(100 * longest_side(thing)))) for n, thing in visible.unique.items()]


def _area(rng: Rng, room: Room, visible: Visibility) -> Facts:
    return [([], f"{floor_area(room):.1f}")]


def _side(rng: Rng, room: Room, visible: Visibility) -> Facts:
    sides = {
        names: direction("easy", *(visible.unique[n] for n in names))
        for names in permutations(visible.unique, 3)
    }
    found: Facts = [(names, word) for names, word in sides.items() if word is not None]
    return [fact for word in ("left", "right") for fact in _one(rng, [f for f in found if f[1] == word])]


def _first(rng: Rng, room: Room, visible: Visibility) -> Facts:
    spans = {n: (visible.first_frame([t]), n) for n, t in visible.unique.items()}
    pairs: Facts = []
    for a, b in permutations(visible.unique, 2):
        early, late = spans[a][0], spans[b][0]
        if early is not None and late is not None and late - early >= len(visible.coverage) // 8:
            pairs += [((a, b) if rng.chance(0.5) else (b, a), a)]
    return pairs


def _one(rng: Rng, facts: Facts) -> Facts:
    return rng.some(facts, 1)


_FACTS = {
    "count": _count, "colour": _colour, "exists": _exists, "list": _list, "distance": _distance,
    "closer": _closer, "size": _size, "area": _area, "side": _side, "first": _first,
}  # fmt: skip
