"""Visible things of a clip: the only ones that questions may be asked about.

A thing is *seen* when, in at least one frame, it covers ``SEEN`` of the picture. It *appears* in the first
frame where it covers that much. This module compares pixels with the scene graph and asks nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vega3d.rooms.relations import distance
from vega3d.rooms.renderer import Clip, visible_pixels
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance, Room

SEEN = 0.003
"""Share of the picture that a thing must cover in some frame to count as seen."""


@dataclass(frozen=True)
class Visibility:
    """The seen part of a room.

    Attributes:
        coverage: (T, N + 1) share of the picture that each instance id covers in each frame.
        categories: instances by category, only categories of which *every* instance was seen
            (otherwise the answer to "how many" would not be in the clip).
        unique: the instance of each category that occurs exactly once, was seen, and stands still.
    """

    coverage: NDArray[np.float64]
    categories: dict[str, list[Instance]]
    unique: dict[str, Instance]
    _metres: dict[tuple[str, str], float] = field(default_factory=dict, repr=False)

    def distance(self, a: str, b: str) -> float:
        """Closest distance in metres between two unique things; computed once."""
        key = (a, b) if a < b else (b, a)
        if key not in self._metres:
            self._metres[key] = distance(self.unique[a], self.unique[b])
        return self._metres[key]

    def first_frame(self, instances: list[Instance], share: float = SEEN) -> int | None:
        """First frame (index into the clip) in which one of the instances covers ``share``."""
        ids = [thing.id for thing in instances]
        frames = np.flatnonzero((self.coverage[:, ids] >= share).any(axis=1))
        return int(frames[0]) if len(frames) else None


def visibility_of(room: Room, clip: Clip) -> Visibility:
    """Compare the clip's id images with the room."""
    pixels = clip.ids.shape[1] * clip.ids.shape[2]
    coverage = visible_pixels(clip, len(room.instances)) / pixels
    best = coverage.max(axis=0)
    categories = {
        name: things
        for name, things in sorted(room.by_category.items())
        if all(best[thing.id] >= SEEN for thing in things)
    }
    single = {name: things[0] for name, things in categories.items() if len(things) == 1}
    unique = {name: thing for name, thing in single.items() if thing.motion is None}
    return Visibility(coverage, categories, unique)


@dataclass(frozen=True)
class QuestionDraft:
    """A question before it has a row and letters.

    Attributes:
        question_type: type of its row.
        question: text of the question.
        answer: answer of a numeric question.
        options: options of a multiple-choice question, the right one first.
    """

    question_type: str
    question: str
    answer: str = ""
    options: tuple[str, ...] = ()


QuestionMaker = Callable[[Rng, Room, Visibility, int], list[QuestionDraft]]
"""(rng, room, what a clip shows of it, most drafts) -> drafts."""
