"""A report shows bars, failures with frames and what was left out; a comparison draws whole scenes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.run.fakes import Fake, write_benchmark
from tests.evaluation.run.test_runner import run
from tests.media import write_video
from vega3d.errors import InputError
from vega3d.evaluation.run.check import check
from vega3d.evaluation.run.compare import compare, differences
from vega3d.evaluation.run.report import failures, write_report

SETTINGS: dict[str, Any] = {"data": "one", "model": {"name": "fake", "kind": "plain host"}}


class Wrong(Fake):
    """Answers with markup, which is wrong."""

    def answer(self, batch: Any) -> list[str]:
        return ["<script>alert(1)</script>|" for _ in batch]


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def make(tmp_path: Path, name: str, model: Any) -> Path:
    run(write_benchmark(tmp_path / "data"), tmp_path / name, model, settings=SETTINGS)
    return tmp_path / name


def test_the_page_has_a_bar_of_the_right_length_for_every_kind(tmp_path: Path) -> None:
    folder = make(tmp_path, "run", Fake())
    _, page = write_report(folder)
    tags = Tags(page.read_text(encoding="utf-8")).found
    bars = [attributes["style"] for tag, attributes in tags if attributes.get("class") == "bar"]
    kinds = json.loads((folder / "result.json").read_text(encoding="utf-8"))["kinds"]
    assert bars == [f"width:{100 * kind['mean']:.2f}%" for kind in kinds.values()]
    assert len(bars) == 4


def test_the_page_needs_nothing_else_and_runs_nothing_that_a_model_wrote(tmp_path: Path) -> None:
    _, page = write_report(make(tmp_path, "run", Wrong()))
    content = page.read_text(encoding="utf-8")
    tags = Tags(content).found
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags}
    assert "&lt;script&gt;" in content
    assert not re.search(r"""(src|href)=["'](?!data:)""", content)


def test_failures_are_shown_with_their_frames(tmp_path: Path) -> None:
    (tmp_path / "data" / "rooms").mkdir(parents=True)
    write_video(tmp_path / "data" / "rooms" / "0.mp4")
    _, page = write_report(make(tmp_path, "run", Wrong()))
    pictures = [a["src"] or "" for tag, a in Tags(page.read_text(encoding="utf-8")).found if tag == "img"]
    assert len(pictures) == 16  # four failures about room 0, four frames each
    assert all(picture.startswith("data:image/jpeg;base64,/9j/") for picture in pictures)


def test_markdown_keeps_its_tables_whatever_a_model_wrote(tmp_path: Path) -> None:
    text, _ = write_report(make(tmp_path, "run", Wrong()))
    rows = [line for line in text.read_text(encoding="utf-8").splitlines() if "alert(1)" in line]
    assert len(rows) == 12
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)


def test_errors_and_an_incomplete_benchmark_are_said_on_top(tmp_path: Path) -> None:
    text, _ = write_report(make(tmp_path, "run", Fake(broken=["2"])))
    content = text.read_text(encoding="utf-8")
    assert "4 questions could not be asked" in content
    assert "8 of 5130 questions" in content
    assert "aggregate_x100 overall, errors as wrong" in content


def test_every_kind_is_among_the_failures() -> None:
    rows = [{"id": n, "kind": "ab"[n > 20], "score": 0.0, "error": None} for n in range(25)]
    assert {row["kind"] for row in failures(rows, 4)} == {"a", "b"}


def test_a_run_that_is_not_finished_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished run"):
        write_report(tmp_path)


def test_a_run_compared_with_itself_differs_by_nothing(tmp_path: Path) -> None:
    folder = make(tmp_path, "run", Fake())
    found = compare(folder, folder, draws=200)
    assert found["macro"]["difference"] == 0
    assert found["macro"]["interval_95"] == [0, 0]
    assert found["macro"]["not_better"] == 1


def test_only_questions_that_both_answered_are_compared(tmp_path: Path) -> None:
    found = compare(make(tmp_path, "a", Wrong(broken=["0"])), make(tmp_path, "b", Fake()), draws=200)
    assert (found["paired"], found["left_out"], found["scenes"]) == (8, 4, 2)
    assert found["macro"]["difference"] == 1
    assert found["macro"]["not_better"] == 0


def test_runs_on_different_data_are_not_compared(tmp_path: Path) -> None:
    data, first = write_benchmark(tmp_path / "data"), make(tmp_path, "a", Fake())
    run(data, tmp_path / "b", Fake(), settings={**SETTINGS, "data": "two"})
    with pytest.raises(InputError, match="different data"):
        compare(first, tmp_path / "b")


@given(st.lists(st.floats(0, 1), min_size=3, max_size=8), st.integers(2, 20))
def test_repeating_questions_in_their_scenes_leaves_the_interval(scores: list[float], times: int) -> None:
    pairs = [("a", str(scene), 0.5, score) for scene, score in enumerate(scores)]
    once = differences(pairs, {}, draws=200)["micro"]["interval_95"]
    assert differences(pairs * times, {}, draws=200)["micro"]["interval_95"] == pytest.approx(once)


@given(
    st.lists(
        st.tuples(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.randoms()), min_size=2, max_size=5
    )
)
def test_scores_in_another_order_tie_however_sums_round(
    scenes: list[tuple[list[float], Random]],
) -> None:
    pairs = [
        ("a", str(scene), one, two)
        for scene, (scores, chance) in enumerate(scenes)
        for one, two in zip(scores, chance.sample(scores, len(scores)), strict=True)
    ]
    assert differences(pairs, {}, draws=50)["macro"]["not_better"] == 1.0


def test_one_scene_has_a_difference_and_no_interval() -> None:
    found = differences([("a", "only", 0.0, 1.0)], {}, draws=200)["macro"]
    assert (found["difference"], found["interval_95"]) == (1, None)


def test_check_names_what_is_missing_and_where_it_comes_from(tmp_path: Path) -> None:
    data = write_benchmark(tmp_path / "data")
    (data / "rooms").mkdir()
    write_video(data / "rooms" / "1.mp4")
    found = check("vsibench", data)
    assert found["missing_clips"] == ["rooms/0.mp4", "rooms/2.mp4"]
    assert (found["clips"], found["questions"], found["ready"]) == (1, 12, False)
    assert "huggingface.co" in found["where"]
    assert "ScanNet" in found["licence"]


@pytest.mark.parametrize("benchmark", ["vsibench", "scanqa", "sqa3d"])
def test_an_empty_folder_is_a_state_and_no_error(benchmark: str, tmp_path: Path) -> None:
    found = check(benchmark, tmp_path)
    assert not found["ready"]
    assert "holds no questions" in found["problem"]
