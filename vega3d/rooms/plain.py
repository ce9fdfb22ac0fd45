"""Plain questions as a person types them, with short answers: what `vega3d ask` users write.

The same facts as questions.py, asked without options and in varied wording, plus what VSI-Bench does not
ask (colours, existence, a list of the room). They teach a small host to look; they are no benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from vega3d.rooms.catalogue import plural
from vega3d.rooms.choices import direction
from vega3d.rooms.dice import Dice
from vega3d.rooms.furniture import CATEGORIES
from vega3d.rooms.relations import floor_area, longest_side
from vega3d.rooms.renderer import Clip
from vega3d.rooms.scene import Room
from vega3d.rooms.seen import Seen, look_through

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
class PlainQuestion:
    """A question as typed, and its short answer."""

    family: str
    question: str
    answer: str


def plain_questions(room: Room, clip: Clip, *, per_family: int = 2, draw: int = 0) -> list[PlainQuestion]:
    """At most ``per_family`` plain questions of each family; another ``draw`` gives others."""
    dice = Dice(room.version, room.seed, 3, draw)
    seen = look_through(room, clip)
    asked = []
    for family in FAMILIES:
        facts = _FACTS[family](dice, room, seen)
        for names, answer in dice.some(facts, per_family):
            words = dict(zip("abc", names, strict=False))
            several = plural(names[0]) if names else ""
            text = dice.pick(WORDINGS[family]).format(**words, **{"as": several})
            asked.append(PlainQuestion(family, text, answer))
    return asked


Facts = list[tuple[Sequence[str], str]]


def _count(dice: Dice, room: Room, seen: Seen) -> Facts:
    facts: Facts = [([n], str(len(things))) for n, things in seen.categories.items() if len(things) > 1]
    return facts + _one(dice, [([n], "1") for n in seen.unique])


def _colour(dice: Dice, room: Room, seen: Seen) -> Facts:
    return [([n], thing.colour) for n, thing in seen.unique.items()]


def _exists(dice: Dice, room: Room, seen: Seen) -> Facts:
    """As many yes as no; a category that is in the room but not seen is not asked about."""
    absent: Facts = [([n], "no") for n in CATEGORIES if n not in room.by_category]
    present: Facts = [([n], "yes") for n in seen.categories]
    size = min(len(absent), len(present))
    return dice.some(absent, size) + dice.some(present, size)


def _list(dice: Dice, room: Room, seen: Seen) -> Facts:
    """The most visible categories with their numbers, or colours where they are single, by name."""
    best = {n: seen.coverage[:, [t.id for t in things]].max() for n, things in seen.categories.items()}
    shown = sorted(sorted(best, key=lambda n: -best[n])[:LISTED])
    words = [
        f"{len(things)} {plural(n)}" if len(things) > 1 else f"{things[0].colour} {n}"
        for n, things in ((n, seen.categories[n]) for n in shown)
    ]
    return [([], ", ".join(words))] if words else []


def _distance(dice: Dice, room: Room, seen: Seen) -> Facts:
    pairs = [(a, b) for a, b in permutations(seen.unique, 2)]
    chosen = dice.some(pairs, 4)
    return [(pair, f"{seen.distance(*pair):.1f}") for pair in chosen]


def _closer(dice: Dice, room: Room, seen: Seen) -> Facts:
    triples = list(permutations(seen.unique, 3))
    facts: Facts = []
    for a, b, c in dice.some(triples, 6):
        to_b, to_c = (seen.distance(a, n) for n in (b, c))
        if abs(to_b - to_c) >= 0.3:
            facts.append(((a, b, c), b if to_b < to_c else c))
    return facts


def _size(dice: Dice, room: Room, seen: Seen) -> Facts:
    return [([n], str(round(100 * longest_side(thing)))) for n, thing in seen.unique.items()]


def _area(dice: Dice, room: Room, seen: Seen) -> Facts:
    return [([], f"{floor_area(room):.1f}")]


def _side(dice: Dice, room: Room, seen: Seen) -> Facts:
    sides = {
        names: direction("easy", *(seen.unique[n] for n in names)) for names in permutations(seen.unique, 3)
    }
    found: Facts = [(names, word) for names, word in sides.items() if word is not None]
    return [fact for word in ("left", "right") for fact in _one(dice, [f for f in found if f[1] == word])]


def _first(dice: Dice, room: Room, seen: Seen) -> Facts:
    spans = {n: (seen.first_frame([t]), n) for n, t in seen.unique.items()}
    pairs: Facts = []
    for a, b in permutations(seen.unique, 2):
        early, late = spans[a][0], spans[b][0]
        if early is not None and late is not None and late - early >= len(seen.coverage) // 8:
            pairs += [((a, b) if dice.chance(0.5) else (b, a), a)]
    return pairs


def _one(dice: Dice, facts: Facts) -> Facts:
    return dice.some(facts, 1)


_FACTS = {
    "count": _count, "colour": _colour, "exists": _exists, "list": _list, "distance": _distance,
    "closer": _closer, "size": _size, "area": _area, "side": _side, "first": _first,
}  # fmt: skip
