"""Uptake: 1 for features that are the answer, 0 for noise, undefined where a probe reads nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.evaluation.run.fakes import Fake
from vega3d.checkpoint.record import CARD_FILE, TRAINING, CardFacts, card, is_generated
from vega3d.cli.main import main
from vega3d.config import Vega3DConfig
from vega3d.errors import InputError
from vega3d.evaluation import load_protocol
from vega3d.evaluation.run import runner
from vega3d.evaluation.run.uptake import UNDEFINED, fieller, read_probe, shown, uptake, write_to_card

SCENES, EACH, WIDTH = 120, 2, 6
CONFIG = Vega3DConfig.from_dict({"host": {"path": "pico"}})
Matrix = NDArray[np.float64]


@pytest.fixture(scope="module")
def truth() -> NDArray[np.int64]:
    """Answers 0 or 1 of two questions in each scene."""
    return np.random.default_rng(0).integers(0, 2, 2 * SCENES * EACH)


def features(truth: NDArray[np.int64], seed: int, *, hold_answer: bool) -> Matrix:
    """Noise, of which one direction is the answer if they hold it."""
    noise = np.random.default_rng(seed).normal(size=(len(truth), WIDTH))
    return noise + (20.0 * (truth[:, None] - 0.5) if hold_answer else 0.0)


def read_off(features: Matrix, truth: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Least squares fitted on the first half; scores of its answers to the second half."""
    half = len(truth) // 2
    x = np.column_stack([features, np.ones(len(features))])
    weights = np.linalg.lstsq(x[:half], truth[:half] - 0.5, rcond=None)[0]
    return rows((x[half:] @ weights > 0) == truth[half:])


def rows(right: NDArray[np.bool_]) -> list[dict[str, Any]]:
    return [
        {"id": str(n), "kind": ("turn", "aside")[n % EACH], "scene": str(n // EACH), "score": float(hit)}
        for n, hit in enumerate(right)
    ]


@pytest.fixture(scope="module")
def base(truth: NDArray[np.int64]) -> list[dict[str, Any]]:
    """A model without features: it guesses."""
    half = len(truth) // 2
    return rows(np.random.default_rng(9).integers(0, 2, half) == truth[half:])


def test_uptake_is_1_within_its_interval_for_features_that_are_the_answer(
    truth: NDArray[np.int64], base: list[dict[str, Any]]
) -> None:
    probe, arm = (read_off(features(truth, seed, hold_answer=True), truth) for seed in (1, 2))
    result = uptake(arm, base, probe, {}, draws=1000)
    low, high = result["interval_95"]
    assert low <= 1 <= high
    assert high - low < 0.2


def test_uptake_is_0_within_its_interval_where_the_probe_reads_the_answer_and_the_arm_is_fed_noise(
    truth: NDArray[np.int64], base: list[dict[str, Any]]
) -> None:
    probe = read_off(features(truth, 1, hold_answer=True), truth)
    arm = read_off(features(truth, 2, hold_answer=False), truth)
    result = uptake(arm, base, probe, {}, draws=1000)
    low, high = result["interval_95"]
    assert low <= 0 <= high < 0.5


def test_uptake_is_undefined_where_the_interval_of_the_probe_meets_the_base(
    truth: NDArray[np.int64], base: list[dict[str, Any]]
) -> None:
    probe = read_off(features(truth, 1, hold_answer=False), truth)
    arm = read_off(features(truth, 2, hold_answer=True), truth)
    result = uptake(arm, base, probe, {}, draws=1000)
    low, high = result["probe_gap_95"]
    assert low <= 0 <= high
    assert (result["uptake"], result["interval_95"]) == (None, None)
    assert shown(result).startswith(UNDEFINED)


def test_a_probe_below_the_base_leaves_the_uptake_undefined() -> None:
    good, bad = rows(np.ones(20, bool)), rows(np.arange(20) % 4 == 0)
    assert uptake(good, good, bad, {}, draws=200)["uptake"] is None


def test_only_questions_with_all_three_scores_count(base: list[dict[str, Any]]) -> None:
    probe = [{"id": row["id"], "score": 1.0} for row in base[:40]]
    result = uptake(base, base, probe, {}, draws=200)
    assert result["questions"] == 40
    assert result["uptake"] == 0
    with pytest.raises(InputError, match="no question has all three"):
        uptake(base, base, [{"id": "other", "score": 1.0}], {})


def test_one_scene_has_no_interval_and_no_uptake() -> None:
    one = [{**row, "scene": "s"} for row in rows(np.ones(4, bool))]
    assert uptake(one, one, one, {})["uptake"] is None


@given(first=st.floats(-1, 1), second=st.floats(0.3, 1), a=st.floats(0, 0.01), b=st.floats(0, 0.01))
def test_the_interval_of_a_ratio_holds_the_ratio(first: float, second: float, a: float, b: float) -> None:
    interval = fieller(first, second, [[a, 0], [0, b]])
    assert interval is not None
    assert interval[0] - 1e-9 <= first / second <= interval[1] + 1e-9


def test_the_interval_of_a_ratio_covers_the_truth_in_19_of_20_draws() -> None:
    rng = np.random.default_rng(3)
    covariance = np.array([[0.003, 0.001], [0.001, 0.002]])
    drawn = rng.multivariate_normal([0.2, 0.4], covariance, size=2000)
    intervals = [fieller(x, y, covariance) for x, y in drawn]
    hits = [edges is not None and edges[0] <= 0.5 <= edges[1] for edges in intervals]
    assert 0.93 < np.mean(hits) < 0.97


@pytest.mark.parametrize("line", ['{"id": "1"}', '{"score": 1}', '{"id": "1", "score": 2}', "[1]", "{"])
def test_a_file_of_a_probe_that_cannot_be_used_is_an_error(line: str, tmp_path: Path) -> None:
    (tmp_path / "probe.jsonl").write_text(line + "\n")
    with pytest.raises(InputError):
        read_probe(tmp_path / "probe.jsonl")


def test_the_command_prints_the_uptake_and_its_page_shows_it(
    every_benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = load_protocol("motion")
    samples = protocol.samples(every_benchmark)
    for name, answer in (("base", "A"), ("arm", None)):
        model: Any = _Says(
            {s.record["id"]: answer or s.record["ground_truth"] for s in samples}, samples, protocol
        )
        runner.run(protocol, samples, model, tmp_path / name, {"data": "same"})
    lines = "".join(json.dumps({"id": sample.id, "score": 1.0}) + "\n" for sample in samples)
    (tmp_path / "probe.jsonl").write_text(lines)
    files = [str(tmp_path / name) for name in ("base", "arm")]
    options = [
        "--probe",
        str(tmp_path / "probe.jsonl"),
        "--draws",
        "200",
        "--html",
        str(tmp_path / "pair.html"),
    ]
    assert main(["eval", "compare", *files, *options]) == 0
    printed = capsys.readouterr().out
    assert "uptake" in printed
    assert "uptake" in (tmp_path / "pair.html").read_text()
    file = card_of(tmp_path / "final")
    assert main(["eval", "compare", *files, *options, "--card", str(file.parent)]) == 0
    assert "Uptake on `motion`" in file.read_text()
    assert main(["eval", "compare", *files, "--card", str(file.parent)]) != 0


def card_of(folder: Path) -> Path:
    file = folder / CARD_FILE
    folder.mkdir(exist_ok=True)
    file.write_text(card(CONFIG, CardFacts("other", f"{TRAINING}\n| metric | value |\n")))
    return file


def test_the_training_report_of_a_model_states_the_uptake_of_each_task_once(tmp_path: Path) -> None:
    file = card_of(tmp_path / "final")
    result = {"uptake": 0.5, "interval_95": [0.4, 0.6], "base": 0.5, "arm": 0.7, "probe": 0.9}
    for task, value in (("motion", 0.1), ("vsibench", 0.2), ("motion", 0.5)):
        write_to_card(tmp_path / "final", task, {**result, "uptake": value})
    text = file.read_text()
    assert (
        text.count("- Uptake on `motion`: 0.50 (95 % 0.40 to 0.60; base 50.0 %, arm 70.0 %, probe 90.0 %)")
        == 1
    )
    assert text.count("Uptake on") == 2
    assert text.count("## Uptake") == 1
    assert is_generated(text, CONFIG)  # so that export and push keep it


def test_a_folder_without_a_training_report_takes_no_uptake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Missing training report"):
        write_to_card(tmp_path, "motion", {})


class _Says(Fake):
    def __init__(self, answers: dict[Any, str], samples: Any, protocol: Any) -> None:
        super().__init__()
        self.said = {(str(s.media), protocol.prompt(s.record)): answers[s.record["id"]] for s in samples}

    def answer(self, batch: Any) -> list[str]:
        return [self.said[str(one.media), one.prompt] for one in batch]
