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
from vega3d.cli.main import main
from vega3d.errors import InputError
from vega3d.evaluation.run import report
from vega3d.evaluation.run.check import check
from vega3d.evaluation.run.compare import compare, differences
from vega3d.evaluation.run.comparison import write_comparison
from vega3d.evaluation.run.percent import interval, metric, percent, with_error
from vega3d.evaluation.run.report import failures, successes, verdict, write_report

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
    tags = [tag for tag, _ in Tags(content).found]
    assert not {"link", "iframe"} & set(tags)
    assert tags.count("script") == 1
    script = (Path(report.__file__).parent / "report.js").read_text(encoding="utf-8").strip()
    assert f"<script>{script}</script>" in content
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


def test_every_kind_is_among_the_successes() -> None:
    rows = [{"id": n, "kind": "ab"[n > 20], "score": 1.0, "error": None} for n in range(25)]
    assert {row["kind"] for row in successes(rows, 4)} == {"a", "b"}
    assert successes([{"id": 1, "kind": "a", "score": 0.9, "error": None}]) == []


def test_successes_have_frames_like_failures(tmp_path: Path) -> None:
    (tmp_path / "data" / "rooms").mkdir(parents=True)
    write_video(tmp_path / "data" / "rooms" / "0.mp4")
    _, page = write_report(make(tmp_path, "run", Fake()))
    tags = Tags(page.read_text(encoding="utf-8")).found
    assert sum(tag == "img" for tag, _ in tags) == 16
    assert [a["data-verdict"] for tag, a in tags if tag == "article"] == ["right"] * 12


@pytest.mark.parametrize(
    ("score", "error", "expected"),
    [(1.0, None, "right"), (0.5, None, "partly right"), (0.0, None, "wrong"), (None, "x", "error")],
)
def test_a_sample_has_a_verdict(score: float | None, error: str | None, expected: str) -> None:
    assert verdict({"score": score, "error": error}) == expected


def test_samples_can_be_filtered_by_type_and_verdict_and_searched(tmp_path: Path) -> None:
    _, page = write_report(make(tmp_path, "run", Wrong()))
    content = page.read_text(encoding="utf-8")
    names = [a.get("name") for tag, a in Tags(content).found if tag in ("select", "input", "output")]
    assert names == ["kind", "verdict", "text", "count"]
    for option in ("object_counting", "route_planning", "right", "wrong", "error"):
        assert f"<option>{option}</option>" in content


def test_the_prompt_as_sent_is_beside_the_raw_and_the_parsed_answer(tmp_path: Path) -> None:
    class Wordy(Fake):
        def answer(self, batch: Any) -> list[str]:
            return ["B. because" for _ in batch]

    _, page = write_report(make(tmp_path, "run", Wordy()))
    content = re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))
    assert "<h4>prompt as sent</h4><pre>&lt;clip&gt;These are frames of a video." in content
    assert "<h4>raw answer</h4><pre>B. because</pre>" in content
    assert "<h4>parsed answer</h4><pre>B</pre>" in content


@pytest.mark.parametrize(("questions", "shown"), [(12, "33 %"), (99, "33 %"), (100, "33.3 %"), (0, "33 %")])
def test_a_percentage_has_no_more_digits_than_its_questions_support(questions: int, shown: str) -> None:
    assert percent(1 / 3, questions) == shown


def test_below_five_questions_there_is_no_error_and_no_interval() -> None:
    mean = {"mean": 0.5, "standard_error": 0.2, "scenes": 2}
    assert (with_error({**mean, "n": 4}), with_error({**mean, "n": 5})) == ("50 %", "50 % ± 20")
    assert (interval({"interval_95": [-0.1, 0.2]}, 4), interval({"interval_95": [-0.1, 0.2]}, 5)) == (
        "",
        "-10 to +20",
    )


def test_a_printed_number_keeps_the_scale_that_its_name_states() -> None:
    assert metric("aggregate_x100 overall", 41.26, 200) == "41.3 %"
    assert metric("aggregate_fraction overall", 0.4126, 200) == "41.3 %"
    assert metric("aggregate_percent EM@1", 41.26, 200) == "41.3 %"
    assert metric("lmms_eval_0_7_3 micro_accuracy", 0.4126, 200) == "41.3 %"
    assert metric("aggregate_percent CIDEr", 95.44, 200) == "95.4"
    assert metric("counts unique", 3.0, 200) == "3.0"
    assert metric("aggregate_x100 overall", None, 0) == "–"


def test_two_runs_are_shown_side_by_side(tmp_path: Path) -> None:
    first, second = make(tmp_path, "a", Wrong()), make(tmp_path, "b", Fake(broken=["0"]))
    content = write_comparison(first, second, tmp_path / "pair.html").read_text(encoding="utf-8")
    cards = [a["data-verdict"] for tag, a in Tags(content).found if tag == "article"]
    assert cards == ["better"] * 8 + ["different"] * 4
    assert "<td>+100</td>" in content
    assert content.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 12
    assert Tags(content).found.count(("script", {})) == 1


def test_the_page_of_two_runs_is_written_by_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, page = make(tmp_path, "a", Fake()), tmp_path / "pair.html"
    assert main(["eval", "compare", str(folder), str(folder), "--html", str(page)]) == 0
    assert page.is_file()
    assert str(page) in capsys.readouterr().err


def test_pages_follow_the_dark_mode_of_the_browser(tmp_path: Path) -> None:
    _, page = write_report(make(tmp_path, "run", Fake()))
    assert "@media (prefers-color-scheme:dark)" in page.read_text(encoding="utf-8")


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
