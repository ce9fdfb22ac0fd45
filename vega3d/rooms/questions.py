"""Questions with exact answers, in VSI-Bench's record format and wording, of all its types.

Decision: only what the clip shows may be asked (visibility.py), answers come from the scene graph alone
(relations.py), and whatever is near a decision boundary is not asked. Right letters, counts, directions and
ranges of distance are drawn first and questions looked for that have them, so that neither position nor class
nor wording gives an answer away. Facts come from number_questions.py, choice_questions.py
and route_questions.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from vega3d.rooms.choice_questions import Level, appearance, direction_maker, rel_distance
from vega3d.rooms.number_questions import abs_distance, counting, room_size, size
from vega3d.rooms.renderer import Clip
from vega3d.rooms.rng import Rng
from vega3d.rooms.route_questions import route
from vega3d.rooms.scene import Room
from vega3d.rooms.visibility import QuestionDraft, QuestionMaker, visibility_of

MULTIPLE_CHOICE = (
    "object_rel_distance",
    "object_rel_direction_easy",
    "object_rel_direction_medium",
    "object_rel_direction_hard",
    "obj_appearance_order",
    "route_planning",
)
NUMERIC = ("object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation")
QUESTION_TYPES = NUMERIC + MULTIPLE_CHOICE

PRE_PROMPT = "These are frames of a video."
POST_PROMPT_CHOICE = "Answer with the option's letter from the given choices directly."
POST_PROMPT_NUMBER = "Please answer the question using a single word or phrase."

_MAKERS: tuple[QuestionMaker, ...] = (
    *(counting, abs_distance, size, room_size, rel_distance),
    *(direction_maker(level) for level in get_args(Level)),
    *(appearance, route),
)


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


def make_questions(
    room: Room, clip: Clip, *, per_type: int = 2, first_id: int = 0, draw: int = 0
) -> list[Question]:
    """At most ``per_type`` questions of each type about what the clip shows; deterministic.

    Args:
        room: the room that was filmed.
        clip: its clip; should hold the whole video, so that appearance orders are right.
        per_type: most questions of one type (one of room size).
        first_id: id of the first question.
        draw: another one asks other questions.
    """
    rng = Rng(room.version, room.seed, 2, draw)
    visible = visibility_of(room, clip)
    drafts: list[QuestionDraft] = []
    for make in _MAKERS:
        drafts += make(rng, room, visible, per_type)
    return [_finish(rng, room, draft, first_id + i) for i, draft in enumerate(drafts)]


def _finish(rng: Rng, room: Room, draft: QuestionDraft, number: int) -> Question:
    """Shuffle the options (the first one is right) and letter them."""
    if not draft.options:
        return Question(number, "rooms", room.name, draft.question_type, draft.question, None, draft.answer)
    order = rng.some(range(len(draft.options)))
    options = tuple(f"{'ABCD'[i]}. {draft.options[k]}" for i, k in enumerate(order))
    letter = "ABCD"[order.index(0)]
    return Question(number, "rooms", room.name, draft.question_type, draft.question, options, letter)
