"""References: descriptions of things, their meaning, and their words.

Decision: a reference is data (category, looks, one relation), its meaning is a function of the scene graph,
and words come last. So a description is right by construction, the same reference can be worded in several
ways, and one that is too close to call (`None`) is never used. Superlatives rank what the looks match.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

from vega3d.rooms.facts import Visibility
from vega3d.rooms.furniture import MATERIALS, plural
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance

Relation = Literal["closest", "farthest", "near", "on", "largest", "smallest"]

_LEAD = 0.3  # metres between the closest and the next
_NEAR, _NOT_NEAR = 0.5, 0.8  # metres: next to, and plainly not next to
_LARGER = 1.3  # times the volume of the next
_PHRASES: dict[Relation, tuple[str, ...]] = {
    "closest": ("closest to the {a}", "nearest to the {a}"),
    "farthest": ("farthest from the {a}", "farthest away from the {a}"),
    "near": ("next to the {a}", "beside the {a}"),
    "on": ("on the {a}", "lying on the {a}", "on top of the {a}"),
}
WORDS = ("zero", "one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class Reference:
    """A category, perhaps its colour and material, perhaps one relation (to an anchor's category)."""

    category: str
    colour: str | None = None
    material: str | None = None
    relation: Relation | None = None
    anchor: str | None = None

    def matching(self, visible: Visibility) -> list[Instance] | None:
        """The things that it means, in order of id; None where that is a close call."""
        looks = [t for t in visible.room.by_category.get(self.category, []) if self._looks_like(t)]
        if self.relation is None:
            return looks
        if self.relation in ("largest", "smallest"):
            volumes = [(math.prod(t.box.size), t) for t in looks]
            return _extreme(volumes, self.relation == "largest", ratio=_LARGER)
        anchor = visible.unique.get(self.anchor or "")
        if anchor is None:
            return None
        if self.relation == "on":
            return [t for t in looks if t.parent == anchor.id]
        ranked = [(visible.distance(t, anchor), t) for t in looks if t.id != anchor.id]
        if self.relation == "near":
            unclear = any(_NEAR <= d < _NOT_NEAR for d, _ in ranked)
            return None if unclear else [t for d, t in ranked if d < _NEAR]
        return _extreme(ranked, self.relation == "farthest", lead=_LEAD)

    def _looks_like(self, thing: Instance) -> bool:
        return self.colour in (None, thing.colour) and self.material in (None, thing.material)

    def noun(self, *, several: bool = False) -> str:
        """Looks and category, as `red wooden chair`."""
        name = plural(self.category) if several else self.category
        return " ".join(word for word in (self.colour, self.material, name) if word)

    def sentence(self, rng: Rng) -> str:
        """A sentence or two that mean one thing, lower case as in ScanRefer."""
        sentences: tuple[str, ...]
        name = self.noun()
        a_name = f"{article(name)} {name}"
        if self.relation in ("largest", "smallest"):
            sentences = (f"the {self.relation} {name}.", f"this is the {self.relation} {name} in the room.")
        elif self.relation is None:
            sentences = (f"the {name}.", f"this is {a_name}.", f"there is one {name} in the room.")
        else:
            where = rng.pick(_PHRASES[self.relation]).format(a=self.anchor)
            the = "the one " if self.relation in ("closest", "farthest") else ""
            sentences = (
                f"the {name} {where}.",
                f"the {name} that is {where}.",
                f"this is {a_name}. it is {the}{where}.",
                f"there is {a_name} {where}.",
            )
        return rng.pick(sentences)

    def phrase(self, rng: Rng, count: int) -> str:
        """A phrase that means several things, or might (``count`` 0)."""
        name = self.noun(several=True)
        number = f"the {WORDS[count]} " if 2 <= count < len(WORDS) else "the "
        start = rng.pick(("the ", "all the ", number))
        where = "" if self.relation is None else " " + rng.pick(_PHRASES[self.relation]).format(a=self.anchor)
        return f"{start}{name}{where}."


def references(visible: Visibility, rng: Rng, target: Instance) -> Iterator[Reference]:
    """References that mean this thing alone, in random order."""
    colours, materials = (None, target.colour), tuple(dict.fromkeys((None, sayable_material(target))))
    relations: list[tuple[Relation | None, str | None]]
    relations = [(None, None), ("largest", None), ("smallest", None)]
    relations += [("on", t.category) for t in visible.room.instances if t.id == target.parent]
    near: tuple[Relation, ...] = ("closest", "farthest", "near")
    relations += [(r, a) for r in near for a in rng.some(visible.unique, 4) if a != target.category]
    for colour, material, (relation, anchor) in rng.some(product(colours, materials, relations)):
        ref = Reference(target.category, colour, material, relation, anchor)
        if ref.matching(visible) == [target]:
            yield ref


def sayable_material(thing: Instance) -> str | None:
    """The thing's material if its texture shows it; metal and plastic look alike here."""
    visible = max(part.surface.contrast for part in thing.primitives) >= 0.1
    return thing.material if visible and MATERIALS[thing.material][2] >= 0.1 else None


def article(name: str) -> str:
    """`a` or `an`."""
    return "an" if name[0] in "aeiou" else "a"


def _extreme(
    ranked: list[tuple[float, Instance]], highest: bool, *, lead: float = 0.0, ratio: float = 1.0
) -> list[Instance] | None:
    """The one that leads plainly; none of none; None without a plain lead, or with only one candidate."""
    ordered = sorted(ranked, key=lambda pair: -pair[0] if highest else pair[0])
    if len(ordered) < 2:
        return None if ordered else []
    first, second = ordered[0][0], ordered[1][0]
    low, high = min(first, second), max(first, second)
    return [ordered[0][1]] if high - low >= lead and high >= ratio * low else None
