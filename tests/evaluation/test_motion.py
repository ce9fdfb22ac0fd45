from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vega3d.evaluation import load_protocol
from vega3d.evaluation.benchmark import Sample
from vega3d.evaluation.run.runner import donors_of


def record(pair: str, kind: str, truth: str, answer: str) -> dict[str, Any]:
    return {"pair": pair, "question_type": kind, "ground_truth": truth, "prediction": answer}


def test_the_mean_is_over_types_and_a_pair_counts_only_if_both_answers_are_right() -> None:
    samples = [
        record("p", "camera_turn", "A", "A"),
        record("p", "camera_turn", "B", "B."),
        record("q", "camera_turn", "A", "A"),
        record("q", "camera_turn", "B", "A"),
        record("p", "closer_than_usual", "A", "B"),
    ]
    scores = load_protocol("motion").score(samples)
    assert scores.headline == {"accuracy overall": 0.375, "both_right overall": 0.5}
    tables = scores.aggregates
    assert tables["accuracy"] == {"camera_turn": 0.75, "closer_than_usual": 0.0, "overall": 0.375}
    assert tables["both_right"] == {"camera_turn": 0.5, "overall": 0.5}


@pytest.mark.parametrize("letter", ["A", "B"])
def test_one_answer_to_everything_is_right_in_half_and_in_no_pair(letter: str) -> None:
    samples = [record(str(n), "camera_turn", truth, letter) for n in range(4) for truth in "AB"]
    tables = load_protocol("motion").score(samples).aggregates
    assert tables["accuracy"]["overall"] == 0.5
    assert tables["both_right"]["overall"] == 0


def test_swapped_features_come_from_another_room_and_not_from_the_twin() -> None:
    samples = [
        Sample(f"{pair}{twin}", {}, Path(f"{pair}_{twin}.mp4"), pair, "camera_turn")
        for pair in ("p", "q", "r")
        for twin in "ab"
    ]
    donors = donors_of(samples)
    assert donors[Path("p_a.mp4")] == Path("q_a.mp4")
    assert donors[Path("p_b.mp4")] == Path("q_b.mp4")
    assert donors[Path("r_b.mp4")] == Path("p_b.mp4")


def test_one_frame_is_sent_as_a_video_unless_the_command_says_otherwise() -> None:
    media = load_protocol("motion").benchmark.media
    assert (media.frames, media.send) == (1, "video")
    assert load_protocol("vsibench").benchmark.media.send == "images"
