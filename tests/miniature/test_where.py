"""Questions of where: true, one thing at a time, and scored as VSI-Bench scores."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from experiments.miniature import where
from experiments.miniature.config import load
from vega3d.data import read_rows
from vega3d.evaluation import load_task
from vega3d.evaluation.scoring import score
from vega3d.evaluation.suites import load_suite
from vega3d.rooms import Clip, Room, make_room, render, scene_seed
from vega3d.rooms.dice import Dice

SEEDS = [scene_seed("train", 7, index) for index in range(12)]
ENDS = [0, 7]


def filmed(seed: int, side: int = where.SIDE) -> tuple[Room, Clip]:
    room = make_room(seed)
    return room, render(room, width=side, height=side, frames=8, fps=1.25, indices=ENDS)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("where")
    world = load("quick", ["rooms.frames=8", "rooms.fps=1.25", "rooms.rows=3"]).rooms
    where.write(folder, "test.jsonl", "rows.jsonl", SEEDS, world)
    return folder


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_distance_is_that_of_the_pixels_that_show_the_thing() -> None:
    asked = 0
    for seed in SEEDS[:4]:
        room, clip = filmed(seed, side=128)  # other pixels than the question was made from
        depth_of = {name: things[0].id for name, things in room.by_category.items() if len(things) == 1}
        for at, shown in enumerate(where.shown_in(*filmed(seed))):
            for name, metres in shown.metres.items():
                seen = clip.depth[at][clip.ids[at] == depth_of[name]]
                assert np.median(seen) == pytest.approx(metres, rel=0.05)
                asked += 1
    assert asked > 10


def test_the_closer_thing_is_the_one_named_by_the_letter() -> None:
    letters = Counter()
    for seed in SEEDS:
        room, clip = filmed(seed)
        by_moment = {shown.moment: shown.metres for shown in where.shown_in(room, clip)}
        for one in where.to_test(room, where.shown_in(room, clip), most=3):
            if one.options is None:
                continue
            metres = by_moment[one.question_type.removeprefix("closer_")]
            names = [option[3:] for option in one.options]
            right, wrong = names["AB".index(one.ground_truth)], names["BA".index(one.ground_truth)]
            assert metres[right] + where.LEAD <= metres[wrong]
            letters[one.ground_truth] += 1
    assert min(letters["A"], letters["B"]) > 5


def test_nothing_is_asked_about_twice_in_a_frame_of_a_row() -> None:
    for seed in SEEDS:
        room, clip = filmed(seed)
        names = sorted(room.by_category)
        for row in where.to_train(room, where.shown_in(room, clip), rows=4):
            said = Counter()
            for one in row:
                words = one.question.replace(",", " ").replace("(", " ").replace(")", " ")
                moment = one.question_type.rpartition("_")[2]
                said.update((moment, name) for name in names if f" {name} " in words)
            assert max(said.values()) == 1


def test_the_benchmark_itself_is_asked_as_the_library_asks_it() -> None:
    assert where.task_of("vsibench") == (load_task("vsibench"), load_suite("vsibench"))


def test_rows_of_one_room_differ() -> None:
    room, clip = filmed(SEEDS[0])
    rows = [[one.question for one in row] for row in where.to_train(room, where.shown_in(room, clip), 4)]
    assert len({tuple(row) for row in rows}) > 1


def test_a_close_call_is_not_asked() -> None:
    room, _ = filmed(SEEDS[0])
    shown = where.Shown("first", {"bed": 2.0, "lamp": 2.0 + where.LEAD / 2, "sofa": 2.0 + 2 * where.LEAD})
    assert where.closer(room, shown, ["bed", "lamp"]) is None
    told = where.closer(room, shown, ["sofa", "bed"])
    assert told is not None
    assert (told.options, told.ground_truth) == (("A. sofa", "B. bed"), "B")


def test_files_are_read_by_the_trainer_and_by_the_evaluator(written: Path) -> None:
    rows = list(read_rows(written / "rows.jsonl", written, {"nframes": 8}))
    assert len(rows) > len(SEEDS)
    assert all(len(row.videos) == 1 for row in rows)
    assert len({line["id"] for line in lines(written / "rows.jsonl")}) == len(rows)
    task, suite = where.task_of("where")
    asked = suite.read(written)
    assert {one.kind for one in asked} == set(where.KINDS)
    assert task.prompt is not None
    assert task.prompt(asked[0].record).startswith("These are frames of a video.\n")


def test_a_row_shows_its_clip_once(written: Path) -> None:
    for row in lines(written / "rows.jsonl"):
        turns = row["conversations"]
        assert isinstance(turns, list)
        assert [("<video>" in turn["value"]) for turn in turns] == [True] + [False] * (len(turns) - 1)


def test_the_same_rooms_are_asked_the_same(written: Path, tmp_path: Path) -> None:
    world = load("quick", ["rooms.frames=8", "rooms.fps=1.25", "rooms.rows=3"]).rooms
    where.write(tmp_path, "test.jsonl", "rows.jsonl", SEEDS, world)
    for name in ("test.jsonl", "rows.jsonl"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_metres_score_as_in_the_benchmark() -> None:
    dice = Dice(3)
    task, _ = where.task_of("where")
    for _ in range(40):
        said, true = f"{dice.real(0.1, 8):.1f}", f"{dice.real(0.1, 8):.1f}"
        row = {"id": 0, "prediction": said, "ground_truth": true, "options": None}
        own = score(task, [row | {"question_type": "distance_first"}])["per_sample"][0]["score"]
        theirs = score(load_task("vsibench"), [row | {"question_type": "object_abs_distance"}])
        assert own == theirs["per_sample"][0]["score"]


@pytest.mark.parametrize(("said", "points"), [("A", 1.0), ("a", 1.0), ("B", 0.0), ("", 0.0), ("both", 0.0)])
def test_a_letter_is_right_or_wrong(said: str, points: float) -> None:
    task, _ = where.task_of("where")
    row = {"id": 0, "prediction": said, "ground_truth": "A", "options": ["A. bed", "B. sofa"]}
    found = score(task, [row | {"question_type": "closer_last"}])
    assert found["per_sample"][0]["score"] == points


def test_the_mean_is_over_kinds() -> None:
    task, _ = where.task_of("where")
    rows = [
        {"prediction": "A", "ground_truth": "A", "options": ["A. bed", "B. sofa"], "question_type": kind}
        for kind in ("closer_first", "closer_first", "closer_last")
    ]
    rows[2]["prediction"] = "B"
    assert task.score(rows).aggregates["mean"]["overall"] == pytest.approx(0.5)
