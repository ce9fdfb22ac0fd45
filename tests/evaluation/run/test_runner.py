"""A run ends in the same result however it was interrupted or shared; what fails is counted."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.run.fakes import Fake, read, samples_of, write_benchmark
from vega3d.errors import ConfigError
from vega3d.evaluation import load_protocol, score
from vega3d.evaluation.run import runner
from vega3d.evaluation.run.journal import Journal
from vega3d.evaluation.run.runner import Share, batches_of, donors_of

SETTINGS = {"model": "fake"}


def run(data: Path, out: Path, model: Any, **options: Any) -> Any:
    protocol, chosen = load_protocol("vsibench"), options.pop("settings", SETTINGS)
    finished = runner.run(protocol, protocol.samples(data), model, out, chosen, **options)
    return finished and finished[0]


def files(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "result.json").read_bytes(), (folder / "samples.jsonl").read_bytes()


@pytest.mark.exact
@pytest.mark.parametrize("dies", range(6))
def test_an_interrupted_run_ends_in_the_same_files(tmp_path: Path, dies: int) -> None:
    data = write_benchmark(tmp_path / "data")
    run(data, tmp_path / "whole", Fake(broken=["1"]), batch_size=2)
    with pytest.raises(KeyboardInterrupt) if dies < 4 else _nothing():
        run(data, tmp_path / "cut", Fake(broken=["1"], dies=dies), batch_size=2)
    run(data, tmp_path / "cut", Fake(broken=["1"]), batch_size=2)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize("cut", [1, 20, 150, 300, 700])
def test_a_line_that_was_half_written_is_asked_again(tmp_path: Path, cut: int) -> None:
    data = write_benchmark(tmp_path / "data")
    run(data, tmp_path / "whole", Fake(), batch_size=3)
    run(data, tmp_path / "cut", Fake(), batch_size=3)
    part = next((tmp_path / "cut" / "parts").glob("*.jsonl"))
    part.write_bytes(part.read_bytes()[:-cut])
    model = Fake()
    run(data, tmp_path / "cut", model, batch_size=3)
    assert 1 <= len(model.asked) <= 3
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_two_processes_ask_each_question_once_and_end_in_the_same_files(tmp_path: Path) -> None:
    data = write_benchmark(tmp_path / "data")
    run(data, tmp_path / "one", Fake(), batch_size=2)
    barrier, models = threading.Barrier(2, timeout=30), [Fake(), Fake()]
    threads = [
        threading.Thread(
            target=run,
            args=(data, tmp_path / "two", models[rank]),
            kwargs={"batch_size": 2, "share": Share(rank, 2, lambda: barrier.wait() and None)},
        )
        for rank in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [len(model.asked) for model in models] == [3, 3]
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_a_complete_run_asks_nothing_again(tmp_path: Path) -> None:
    data, model = write_benchmark(tmp_path / "data"), Fake()
    first = run(data, tmp_path / "run", Fake())
    assert run(data, tmp_path / "run", model) == first
    assert model.asked == []


def test_a_broken_clip_is_an_error_that_lowers_the_count_and_no_score(tmp_path: Path) -> None:
    data = write_benchmark(tmp_path / "data")
    result = run(data, tmp_path / "run", Fake(broken=["1"]))
    assert result["count"] | {"official": 0} == {
        "answered": 8, "errors": 4, "asked": 12, "found": 12, "official": 0, "complete": False,
    }  # fmt: skip
    assert result["headline"]["aggregate_x100 overall"] == 100
    assert result["headline_with_errors_as_wrong"]["aggregate_x100 overall"] == pytest.approx(200 / 3)
    failed = [row for row in read(tmp_path / "run") if row["error"]]
    assert [row["scene"] for row in failed] == ["rooms/1"] * 4
    assert all("1.mp4 is broken" in row["error"] and row["score"] is None for row in failed)


def test_another_run_is_refused_in_the_same_folder(tmp_path: Path) -> None:
    data = write_benchmark(tmp_path / "data")
    run(data, tmp_path / "run", Fake())
    with pytest.raises(ConfigError, match="holds another run"):
        run(data, tmp_path / "run", Fake(), settings={"model": "other"})


def test_a_sample_says_what_was_sent_and_what_came_back(tmp_path: Path) -> None:
    run(write_benchmark(tmp_path / "data"), tmp_path / "run", Fake())
    row = read(tmp_path / "run")[1]
    assert row["prompt"].startswith(
        "<clip>These are frames of a video.\nquestion 1 about room 0?\nOptions:\nA. yes"
    )
    assert (row["output"], row["score"], row["error"], row["truth"]) == ("B", 1.0, None, "B")


class Alternating(Fake):
    """Right about the odd questions of a room only."""

    def answer(self, batch: Any) -> list[str]:
        return [("4" if "word" in a.prompt else "B") if _number(a) % 2 else "0" for a in batch]


def _number(asked: Any) -> int:
    return int(asked.prompt.split("question ")[1].split(" ")[0])


@settings(max_examples=20, deadline=None)
@given(pruned=st.sets(st.integers(0, 11), max_size=11))
def test_every_kept_answer_of_the_debiased_set_has_its_own_score(
    tmp_path_factory: pytest.TempPathFactory, pruned: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("debiased")
    data = write_benchmark(folder / "data")
    (data / "pruned_ids.txt").write_text("".join(f"{number}\n" for number in sorted(pruned)))
    protocol = load_protocol("vsibench/debiased")
    runner.run(protocol, protocol.samples(data), Alternating(), folder / "run", SETTINGS)  # type: ignore[arg-type]
    rows = read(folder / "run")
    assert {int(row["id"]) for row in rows} == set(range(12)) - pruned
    assert all(row["score"] == float(int(row["id"]) % 4 % 2) for row in rows)


class Untidy(Fake):
    """Answers in forms that protocols read differently."""

    def answer(self, batch: Any) -> list[str]:
        rooms = [int(asked.prompt.split("room ")[1].split("?")[0]) for asked in batch]
        return [(" B", "B.\n", " about 4.")[room] for room in rooms]


@pytest.mark.parametrize(
    "name", ["vsibench", "vsibench/lmms-eval", "vsibench/debiased", "vsibench/debiased-lmms-eval"]
)
def test_a_protocol_scores_an_answer_alike_in_a_run_and_in_a_file(tmp_path: Path, name: str) -> None:
    data = write_benchmark(tmp_path / "data")
    (data / "pruned_ids.txt").write_text("3\n")
    protocol = load_protocol(name)
    model: Any = Untidy()
    questions = protocol.samples(data)
    runner.run(protocol, questions, model, tmp_path / "run", SETTINGS)
    rows = read(tmp_path / "run")
    records = {question.id: question.record for question in questions}
    scored = score(name, [{**records[row["id"]], "prediction": row["output"]} for row in rows])
    assert [row["score"] for row in rows] == [row["score"] for row in scored["per_sample"]]


def test_a_protocol_that_drops_samples_is_named_and_not_mixed_up(tmp_path: Path) -> None:
    import dataclasses

    questions = samples_of("vsibench", write_benchmark(tmp_path / "data"))
    marked = [dataclasses.replace(q, record={**q.record, "pruned": q.id == "3"}) for q in questions]
    with pytest.raises(ConfigError, match="does not score every record"):
        runner.run(load_protocol("vsibench/debiased"), marked, Fake(), tmp_path / "run", SETTINGS)  # type: ignore[arg-type]


def test_two_questions_of_one_id_are_refused(tmp_path: Path) -> None:
    data = write_benchmark(tmp_path / "data")
    lines = (data / "test.jsonl").read_text(encoding="utf-8")
    (data / "test.jsonl").write_text(lines + lines, encoding="utf-8")
    with pytest.raises(ConfigError, match="one id"):
        run(data, tmp_path / "run", Fake())


@settings(max_examples=25, deadline=None)
@given(scenes=st.integers(2, 6), per_scene=st.integers(1, 9), size=st.integers(1, 5))
def test_batches_hold_every_question_once_and_one_clip_each(
    tmp_path_factory: pytest.TempPathFactory, scenes: int, per_scene: int, size: int
) -> None:
    data = write_benchmark(tmp_path_factory.mktemp("data"), scenes, per_scene)
    questions = samples_of("vsibench", data)
    batches = batches_of(questions, size)
    assert sorted(q.id for batch in batches for q in batch) == sorted(q.id for q in questions)
    assert all(len(batch) <= size and len({q.media for q in batch}) == 1 for batch in batches)
    donors = donors_of(questions)
    assert set(donors) == set(donors.values())
    assert all(clip != donor for clip, donor in donors.items())


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_of_two_runs_that_begin_in_one_folder_at_once_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def late(*paths: Path) -> None:  # the other one is done between our look and our write
        monkeypatch.setattr(os, "link", link)
        Journal(tmp_path, {"frames": 4})
        link(*paths)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(ConfigError, match="frames: 8"):
        Journal(tmp_path, {"frames": 8})
