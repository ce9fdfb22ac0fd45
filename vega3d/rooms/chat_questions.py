"""Plain questions as a person types them, with short answers, as users of `vega3d ask` write them.

The same facts as questions.py, asked without options and in varied wording, plus what VSI-Bench does not
ask (colours, existence, a list of the room). They train a small host to use its pictures; they are
not a benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

from vega3d.rooms.facts import Visibility
from vega3d.rooms.furniture import CATEGORIES, plural
from vega3d.rooms.questions import direction
from vega3d.rooms.renderer import Clip
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Room, grouped

LISTED = 8
"""Most categories that a list of the room names."""


@dataclass(frozen=True)
class ChatQuestion:
    """A question as typed, and its short answer."""

    family: str
    question: str
    answer: str


def make_chat_questions(room: Room, clip: Clip, *, per_family: int = 2, draw: int = 0) -> list[ChatQuestion]:
    """At most ``per_family`` plain questions of each family; another ``draw`` gives others."""
    rng, visible = Rng(room.version, room.seed, 3, draw), Visibility(room, clip.ids)
    asked = []
    for family, (facts_of, wordings) in _FAMILIES.items():
        for names, answer in rng.some(facts_of(rng, visible), per_family):
            words = dict(zip("abc", names, strict=False))
            several = plural(names[0]) if names else ""
            text = rng.pick(wordings).format(**words, **{"as": several})
            asked.append(ChatQuestion(family, text, answer))
    return asked


Facts = list[tuple[Sequence[str], str]]


def _count(rng: Rng, visible: Visibility) -> Facts:
    facts: Facts = [([n], str(len(things))) for n, things in visible.categories.items() if len(things) > 1]
    return facts + [([name], "1") for name in rng.some(visible.unique, 1)]


def _colour(rng: Rng, visible: Visibility) -> Facts:
    return [([n], thing.colour) for n, thing in visible.unique.items()]


def _exists(rng: Rng, visible: Visibility) -> Facts:
    """As many yes as no; a category that is in the room but not seen is not asked about."""
    absent: Facts = [([n], "no") for n in CATEGORIES if n not in visible.room.by_category]
    present: Facts = [([n], "yes") for n in visible.categories]
    size = min(len(absent), len(present))
    return rng.some(absent, size) + rng.some(present, size)


def _list(rng: Rng, visible: Visibility) -> Facts:
    """The most visible categories with their numbers, or colours where they are single, by name."""
    best = {n: visible.coverage[:, [t.id for t in things]].max() for n, things in visible.categories.items()}
    words = []
    for name in sorted(sorted(best, key=lambda n: -best[n])[:LISTED]):
        first, *others = visible.categories[name]
        words.append(f"{1 + len(others)} {plural(name)}" if others else f"{first.colour} {name}")
    return [([], ", ".join(words))] if words else []


def _distance(rng: Rng, visible: Visibility) -> Facts:
    pairs = rng.some(permutations(visible.unique.values(), 2), 4)
    return [((a.category, b.category), f"{visible.distance(a, b):.1f}") for a, b in pairs]


def _closer(rng: Rng, visible: Visibility) -> Facts:
    facts: Facts = []
    for trio in rng.some(permutations(visible.unique.values(), 3), 6):
        a, b, c = (thing.category for thing in trio)
        to_b, to_c = (visible.distance(trio[0], thing) for thing in trio[1:])
        if abs(to_b - to_c) >= 0.3:
            facts.append(((a, b, c), b if to_b < to_c else c))
    return facts


def _size(rng: Rng, visible: Visibility) -> Facts:
    return [([n], str(round(100 * max(thing.box.size)))) for n, thing in visible.unique.items()]


def _area(rng: Rng, visible: Visibility) -> Facts:
    return [([], f"{visible.room.size[0] * visible.room.size[1]:.1f}")]


def _side(rng: Rng, visible: Visibility) -> Facts:
    sides = grouped((direction("easy", *trio), trio) for trio in permutations(visible.unique.values(), 3))
    chosen = [(word, rng.some(sides.get(word, []), 1)) for word in ("left", "right")]
    return [([thing.category for thing in trio], word) for word, trios in chosen for trio in trios]


def _first(rng: Rng, visible: Visibility) -> Facts:
    firsts = {name: visible.first_frame([thing]) for name, thing in visible.unique.items()}
    pairs: Facts = []
    for a, b in permutations(visible.unique, 2):
        early, late = firsts[a], firsts[b]
        if early is not None and late is not None and late - early >= len(visible.coverage) // 8:
            pairs += [((a, b) if rng.chance(0.5) else (b, a), a)]
    return pairs


_FAMILIES: dict[str, tuple[Callable[[Rng, Visibility], Facts], tuple[str, ...]]] = {
    "count": (_count, ("How many {as} are there?", "How many {as} are in the room?",
        "How many {as} do you see?", "Count the {as}.", "What is the number of {as} in this video?")),
    "colour": (_colour, ("What color is the {a}?", "What colour is the {a}?",
        "Which color does the {a} have?", "What is the color of the {a}?")),
    "exists": (_exists, ("Is there a {a}?", "Is there a {a} in the room?", "Do you see a {a}?",
        "Can you see a {a} in the video?")),
    "list": (_list, ("What is in this room?", "What objects are in the room?", "Describe the room.",
        "List the objects.", "What do you see?")),
    "distance": (_distance, ("How far is the {a} from the {b}?", "How far apart are the {a} and the {b}?",
        "What is the distance between the {a} and the {b}?", "How many meters from the {a} to the {b}?")),
    "closer": (_closer, ("What is closer to the {a}, the {b} or the {c}?",
        "Which is closer to the {a}: the {b} or the {c}?", "Is the {b} or the {c} closer to the {a}?",
        "Which is nearer to the {a}, the {b} or the {c}?")),
    "size": (_size, ("How big is the {a}?", "How long is the longest side of the {a} in centimeters?",
        "How large is the {a} in cm?")),
    "area": (_area, ("How big is the room?", "What is the area of the room?",
        "How large is this room in square meters?", "What is the size of the room?")),
    "side": (_side, ("Standing by the {a} and facing the {b}, is the {c} on the left or the right?",
        "If I stand at the {a} and look at the {b}, is the {c} to my left or right?",
        "From the {a}, facing the {b}, where is the {c}: left or right?")),
    "first": (_first, ("What appears first, the {a} or the {b}?",
        "Which appears first in the video: the {a} or the {b}?", "Do you see the {a} or the {b} first?")),
}  # fmt: skip
"""Facts and wordings by family; {a}, {b}, {c} are categories, {as} is the plural of {a}."""
