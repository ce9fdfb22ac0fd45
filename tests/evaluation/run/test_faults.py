"""A question that cannot be asked is an error of that question; what hits every question ends the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vega3d
from tests.evaluation.run.fakes import Fake, read, write_benchmark
from tests.evaluation.run.test_runner import files, run
from vega3d.cli.main import main
from vega3d.errors import DependencyError, InputError
from vega3d.evaluation.run.model import EvalModel, EvalRequest, PreparedRequest
from vega3d.evaluation.run.report import write_report
from vega3d.evaluation.run.results import read_result, write_result
from vega3d.evaluation.run.runner import MOST_FAULTS
from vega3d.rooms import export_rooms

SURROGATE = "how many \ud800 chairs?"


class Faulty(Fake):
    """Some questions fail while they are prepared, with an error of an unexpected class."""

    def __init__(self, *texts: str, error: BaseException | None = None, dies: int | None = None) -> None:
        super().__init__(dies=dies)
        self.texts, self.error = texts, error or TypeError("no text")

    def prepare(self, request: EvalRequest) -> PreparedRequest:
        if any(text in request.prompt for text in self.texts):
            raise self.error
        return super().prepare(request)


def errors(folder: Path) -> dict[str, str]:
    return {row["id"]: row["error"] for row in read(folder) if row["error"]}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_one_question_that_cannot_be_prepared_is_its_own_error(tmp_path: Path, batch_size: int) -> None:
    data = write_benchmark(tmp_path / "data")
    result = run(data, tmp_path / "run", Faulty("question 1 about room 1"), batch_size=batch_size)
    assert errors(tmp_path / "run") == {"5": "TypeError: no text"}
    assert (result["count"]["answered"], result["count"]["errors"]) == (11, 1)
    for page in write_report(tmp_path / "run"):
        assert "TypeError: no text" in page.read_text(encoding="utf-8")


def test_all_questions_about_one_clip_may_fail(tmp_path: Path) -> None:
    data = write_benchmark(tmp_path / "data", scenes=3, per_scene=3 * MOST_FAULTS)
    result = run(data, tmp_path / "run", Faulty("room 0"))
    assert result["count"]["errors"] == 3 * MOST_FAULTS


def test_a_fault_that_hits_every_clip_ends_the_run_and_is_nobodys_error(tmp_path: Path) -> None:
    data = write_benchmark(tmp_path / "data", scenes=2 * MOST_FAULTS, per_scene=2)
    model = Faulty("question", error=ValueError("wrong model"))
    with pytest.raises(InputError, match="wrong model") as raised:
        run(data, tmp_path / "run", model)
    assert isinstance(raised.value.__cause__, ValueError)
    result = run(data, tmp_path / "run", Fake())
    assert result["count"]["errors"] == 0


def test_a_small_benchmark_of_which_nothing_can_be_asked_ends_loudly(tmp_path: Path) -> None:
    data = write_benchmark(tmp_path / "data", scenes=2, per_scene=1)
    with pytest.raises(InputError, match="no text"):
        run(data, tmp_path / "run", Faulty("question"))


@pytest.mark.parametrize(
    "error", [MemoryError(), KeyboardInterrupt(), DependencyError("pyarrow is not installed.")]
)
def test_what_is_no_fault_of_a_question_ends_the_run_at_once(tmp_path: Path, error: BaseException) -> None:
    data = write_benchmark(tmp_path / "data")
    with pytest.raises(type(error)):
        run(data, tmp_path / "run", Faulty("question 1 about room 1", error=error))
    result = run(data, tmp_path / "run", Fake())
    assert result["count"]["errors"] == 0


def test_a_fault_while_the_model_answers_ends_the_run(tmp_path: Path) -> None:
    class Broken(Fake):
        def answer(self, batch: Any) -> list[str]:
            raise RuntimeError("CUDA error")

    with pytest.raises(RuntimeError, match="CUDA error"):
        run(write_benchmark(tmp_path / "data"), tmp_path / "run", Broken())


@pytest.mark.parametrize("dies", range(5))
def test_an_interrupted_run_with_faults_ends_in_the_same_files(tmp_path: Path, dies: int) -> None:
    data, texts = write_benchmark(tmp_path / "data"), ("question 0 about room 0", "room 2")
    run(data, tmp_path / "whole", Faulty(*texts), batch_size=2)
    with pytest.raises(KeyboardInterrupt) if dies < 4 else _nothing():
        run(data, tmp_path / "cut", Faulty(*texts, dies=dies), batch_size=2)
    run(data, tmp_path / "cut", Faulty(*texts), batch_size=2)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert set(errors(tmp_path / "cut")) == {"0", "8", "9", "10", "11"}


def test_lone_surrogates_anywhere_are_written_into_every_file(tmp_path: Path) -> None:
    data = write_benchmark(tmp_path / "data")
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    rows[0]["question_type"] = "kind \udcff"
    for row in rows:
        row["question"] = SURROGATE + row["question"]
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    class Odd(Fake):
        def answer(self, batch: Any) -> list[str]:
            return ["\ud83d \udc00|" for _ in batch]

    run(data, tmp_path / "run", Odd())
    for page in write_report(tmp_path / "run"):
        content = page.read_text(encoding="utf-8")
        assert "ud83d" in content
        assert "ud800" in content
    row = read(tmp_path / "run")[0]
    assert row["output"] == "\ud83d \udc00|"
    assert row["question"].startswith(SURROGATE)
    assert run(data, tmp_path / "run", Odd())["count"]["answered"] == 12


def test_kinds_with_lone_surrogates_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(write_benchmark(tmp_path / "data"), tmp_path / "run", Fake(), settings={"data": "one"})
    result, rows = read_result(tmp_path / "run")
    write_result(tmp_path / "run", result, [{**row, "kind": "kind \ud800"} for row in rows])
    folder = str(tmp_path / "run")
    assert main(["eval", "compare", folder, folder, "--draws", "100"]) == 0
    assert "kind \\ud800" in capsys.readouterr().out


def test_an_odd_question_is_its_own_error_with_the_shipped_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = export_rooms(tmp_path / "data", 1, width=64, height=64, frames=4, per_type=1)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][:3]
    rows[0]["question"] = SURROGATE  # the first question about a clip: the clip is prepared for all of them
    rows[1]["question"] = "how many <|image_pad|> chairs?"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--frames", "2"]
    assert main(["eval", "run", "pico", "--tasks", "vsibench", *options, "--device", "cpu", "--quiet"]) == 1
    assert "1 answered, 2 errors" in capsys.readouterr().out
    odd, placeholder = errors(tmp_path / "out" / "vsibench").values()
    assert "InputError" in odd
    assert "\\ud800" in odd
    assert "InputError" in placeholder
    assert "<|image_pad|>" in placeholder


def test_a_clip_is_prepared_alike_whichever_question_comes_first(tmp_path: Path) -> None:
    import torch

    export_rooms(tmp_path, 1, width=64, height=64, frames=4, per_type=1)
    (clip,) = (tmp_path / "rooms").glob("*.mp4")
    pico = vega3d.load("pico", device="cpu")
    first, second = (
        EvalModel(pico, 2)._clip(EvalRequest(text, clip)) for text in ("a?", "<|video_pad|> how many?")
    )
    assert first.head == second.head
    assert torch.equal(first.ids, second.ids)


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()
