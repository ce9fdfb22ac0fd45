"""Questions of where: true, and scored as VSI-Bench scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.miniature import where
from experiments.miniature.config import load
from vega3d.data import read_rows
from vega3d.evaluation import load_protocol
from vega3d.evaluation.scoring import score
from vega3d.rooms import Clip, Room, make_room, render, scene_seed
from vega3d.rooms.rng import Rng

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


def test_the_benchmark_itself_is_asked_as_the_library_asks_it() -> None:
    assert where.protocol_of("vsibench") == load_protocol("vsibench")


def test_rows_of_one_room_differ_in_their_order_alone() -> None:
    room, clip = filmed(SEEDS[0])
    rows = [[one.question for one in row] for row in where.to_train(room, where.shown_in(room, clip), 4)]
    assert len({tuple(row) for row in rows}) > 1
    assert len({tuple(sorted(row)) for row in rows}) == 1


def test_files_are_read_by_the_trainer_and_by_the_evaluator(written: Path) -> None:
    rows = list(read_rows(written / "rows.jsonl", written, {"nframes": 8}))
    assert len(rows) > len(SEEDS)
    assert all(len(row.videos) == 1 for row in rows)
    assert len({line["id"] for line in lines(written / "rows.jsonl")}) == len(rows)
    task = where.protocol_of("where")
    asked = task.samples(written)
    assert {one.kind for one in asked} == set(where.KINDS)
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
    rng = Rng(3)
    task = where.protocol_of("where")
    for _ in range(40):
        said, true = f"{rng.real(0.1, 8):.1f}", f"{rng.real(0.1, 8):.1f}"
        row = {"id": 0, "prediction": said, "ground_truth": true, "options": None}
        own = score(task, [row | {"question_type": "distance_first"}])["per_sample"][0]["score"]
        theirs = score(load_protocol("vsibench"), [row | {"question_type": "object_abs_distance"}])
        assert own == theirs["per_sample"][0]["score"]


def test_the_mean_is_over_kinds() -> None:
    task = where.protocol_of("where")
    kinds = ("distance_first", "distance_first", "distance_last")
    rows = [{"prediction": "2.0", "ground_truth": "2.0", "question_type": kind} for kind in kinds]
    rows[2]["prediction"] = "far"
    assert task.score(rows).aggregates["mean"]["overall"] == pytest.approx(0.5)
