"""Questions of where: how far something is from the camera, in the first frame or in the last.

Decision: what a generator's features may add is geometry, so these ask for geometry and for as little else as
can be: one thing is looked up in one frame. The words are those of the Ames pairs, the metric VSI-Bench's.
Training rows ask about everything that both frames show, one question after the other, which costs little
more than one; rows of one room differ in their order.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.miniature.config import Rooms
from vega3d.evaluation import Metric, Protocol, Scores, load_protocol
from vega3d.evaluation.metrics.means import by_group, mean
from vega3d.evaluation.metrics.numbers import mean_relative_accuracy, plain_number
from vega3d.evaluation.records import Field, Record, is_text, mappings, number, text
from vega3d.rooms import Clip, Room, make_room, render
from vega3d.rooms.facts import Visibility
from vega3d.rooms.formats.vsibench import conversation_of
from vega3d.rooms.formats.writer import write_text
from vega3d.rooms.questions import Question
from vega3d.rooms.rng import Rng

MOMENTS = ("first", "last")
KINDS = tuple(f"distance_{moment}" for moment in MOMENTS)
COVER = 0.01  # share of the frame that a thing has to cover there
SIDE = 64  # pixels of the pictures that distances are read off
VSI = "vsibench"


@dataclasses.dataclass(frozen=True)
class Shown:
    """The content of one frame.

    Attributes:
        moment: which frame.
        metres: for each thing that is alone of its kind, the median depth of what is seen of it.
    """

    moment: str
    metres: Mapping[str, float]


def shown_in(room: Room, clip: Clip) -> list[Shown]:
    """The things in each frame of a clip that holds just the first and the last."""
    visible = Visibility(room, clip.ids)
    found = []
    for at, moment in enumerate(MOMENTS):
        known = {
            name: thing.id
            for name, thing in visible.unique.items()
            if visible.coverage[at, thing.id] >= COVER
        }
        depth, ids = clip.depth[at], clip.ids[at]
        found.append(
            Shown(moment, {name: float(np.median(depth[ids == one])) for name, one in known.items()})
        )
    return found


def distance(room: Room, shown: Shown, name: str) -> Question:
    """How far one thing is."""
    asked = f"How far is the {name} from the camera in the {shown.moment} frame (in meters)?"
    answer = f"{shown.metres[name]:.1f}"
    return Question(0, "rooms", room.name, f"distance_{shown.moment}", asked, None, answer)


def to_test(room: Room, frames: Sequence[Shown], most: int) -> list[Question]:
    """At most so many questions about each frame."""
    rng = Rng(room.version, room.seed, 41)
    return [distance(room, shown, name) for shown in frames for name in rng.some(sorted(shown.metres), most)]


def to_train(room: Room, frames: Sequence[Shown], rows: int) -> Iterator[list[Question]]:
    """All questions in another order for each row."""
    found = [distance(room, shown, name) for shown in frames for name in sorted(shown.metres)]
    for row in range(rows if found else 0):
        yield Rng(room.version, room.seed, 42, row).some(found)


def row_of(questions: Sequence[Question]) -> dict[str, object]:
    """One conversation with all of these questions, as ``vega3d.data`` reads it; the clip comes first."""
    told = [conversation_of(question.to_record()) for question in questions]
    turns: list[Any] = [turn for one in told for turn in one["conversations"]]  # type: ignore[attr-defined]
    rest = [{**turn, "value": turn["value"].removeprefix("<video>\n")} for turn in turns[1:]]
    return {**told[0], "conversations": [turns[0], *rest]}


def write(folder: Path, test: str, train: str, seeds: Sequence[int], world: Rooms) -> None:
    """Put these questions in the place of those that an export of rooms has written.

    Args:
        folder: of the set.
        test, train: names of the file to ask from and of the file to train on.
        seeds: its rooms.
        world: how they are filmed, how many questions about a frame, how many rows to train on.
    """
    asked: list[Question] = []
    told: list[dict[str, object]] = []
    for seed in seeds:
        room = make_room(seed)
        ends = [0, world.frames - 1]
        clip = render(room, width=SIDE, height=SIDE, frames=world.frames, fps=world.fps, indices=ends)
        frames = shown_in(room, clip)
        asked += to_test(room, frames, world.per_type)
        told += [row_of(questions) for questions in to_train(room, frames, world.rows)]
    records = [dataclasses.replace(one, id=number).to_record() for number, one in enumerate(asked)]
    write_text(folder / test, "".join(json.dumps(record) + "\n" for record in records))
    rows = [{**row, "id": number} for number, row in enumerate(told)]
    write_text(folder / train, "".join(json.dumps(row) + "\n" for row in rows))


# ---------------------------------------------------------------- how they are asked and scored


def prompt(record: Record) -> str:
    """The text, in VSI-Bench's form."""
    return Question(**record).prompt()


def sample_score(record: Record) -> float | None:
    """VSI-Bench's score of metres; None for a question of another type."""
    if text(record, "question_type") not in KINDS:
        return None
    said, true = plain_number(text(record, "prediction")), number(text(record, "ground_truth"))
    return mean_relative_accuracy(said, true)


def score(samples: Sequence[object]) -> Scores:
    """Each question's score, and the mean over kinds."""
    records = mappings(samples)
    scores = [sample_score(record) for record in records]
    kinds = by_group([text(record, "question_type") for record in records], scores)
    overall = mean(kinds.values())
    means = {"mean": {**kinds, "overall": overall}}
    return Scores([{"score": one} for one in scores], means, metrics=[Metric("mean overall", overall)])


def protocol_of(questions: str) -> Protocol:
    """The protocol by the name that a config gives."""
    protocol = load_protocol(VSI)
    if questions == VSI:
        return protocol
    fields = (
        Field("prediction", is_text, "the model's answer"),
        Field("ground_truth", is_text, "metres as text"),
        Field("question_type", lambda value: value in KINDS, f"one of {', '.join(KINDS)}"),
    )
    own = dataclasses.replace(
        protocol, name="where", title="Where", version="1", sources=("VSI-Bench's metrics",), fields=fields,
        rules="MRA of the first word, .5:.95:.05; mean of the two frames", prompt=prompt, score=score,
    )  # fmt: skip
    benchmark = dataclasses.replace(
        protocol.benchmark, name="where", official=None, groups={}, protocols=(own,)
    )
    return benchmark.protocols[0]
