"""The docs page shows what the kept results say, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.miniature.pages import DOCS, PAGE, RESULTS, keep, regenerate
from vega3d.errors import ConfigError

KINDS = ("object_counting", "route_planning")
COLOUR = {"score": 0.7, "se": 0.06, "blind": 0.2, "n": 48}


def results() -> dict[str, Any]:
    """A small made-up run."""
    questions = [[str(n), f"room_{n // 2}", KINDS[n % 2]] for n in range(12)]
    arms = ("host", "host_twice", "video_frame", "image_frame")
    cost = dict.fromkeys(("gflop_a_clip", "feature_seconds", "tuning_seconds"), 1.0)
    cost |= {"new_parameters": 100, "feature_bytes": 10}
    return {
        "draws": 100,
        "questions": {"rooms": questions},
        "scores": {
            "rooms": {
                arm: {"0": [float((n * (k + 2)) % 3) / 2 for n in range(12)]} for k, arm in enumerate(arms)
            }
        },
        "probes": {arm: {"depth_ridge": [0.1, 0.01], "consistency": [0.2, 0.02]} for arm in arms[1:]},
        "sweep": {"video": {"3 0.1": [0.1, 0.01], "7 0.1": [0.2, 0.01]}},
        "ames": {"video_frame": {"pairs": 2, "host": 0.5, "fused": 0.5, "swapped": 0.5, "flipped": 0.0}},
        "blind": {"rooms": {kind: {"chance": None, "constant": 0.4} for kind in KINDS}},
        "swapped": {"video_frame": {"0": [0.5] * 12}},
        "host": {name: {"colour": COLOUR} for name in ("before", "after")},
        "watch": {"video_frame": {"fusion/gate": 0.25, "fusion/gate_spread": 0.1}},
        "cost": dict.fromkeys(arms, cost),
    }


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    shutil.copy(DOCS / PAGE, tmp_path / "docs" / PAGE)
    return tmp_path / "docs"


def test_the_page_in_the_repository_is_what_the_kept_results_give(docs: Path) -> None:
    regenerate(RESULTS, docs)
    assert (docs / PAGE).read_text(encoding="utf-8") == (DOCS / PAGE).read_text(encoding="utf-8")


def test_without_results_the_page_says_that_there_are_none(docs: Path, tmp_path: Path) -> None:
    assert regenerate(tmp_path / "nothing", docs) == [docs / PAGE]
    assert (docs / PAGE).read_text(encoding="utf-8").count("run has not been made yet") == 4


def test_results_become_tables_and_figures_and_the_same_bytes_again(docs: Path, tmp_path: Path) -> None:
    (tmp_path / "kept" / "cpu").mkdir(parents=True)
    (tmp_path / "kept" / "cpu" / "results.json").write_text(json.dumps(results()))
    files = regenerate(tmp_path / "kept", docs)
    first = {file: file.read_bytes() for file in files}
    assert {file.name for file in files} == {"contrasts.svg", "probes.svg", "sweep.svg", "gain.svg", PAGE}
    text = (docs / PAGE).read_text(encoding="utf-8")
    assert "the answer never flips" in text
    titles = ("By question type", "Another clip's features", "The fusion at the end", "Cost")
    assert all(f"**{title}" in text for title in titles)
    assert "| *best constant answer* | 40.0 |" in text
    assert "| colour | 70 ± 6 | 70 ± 6 | 20 | 48 |" in text
    assert "| Wan, video, frame | 0.250 | 0.100 | – |" in text
    assert text.count("run has not been made yet") == 3
    assert "(miniature/cpu/contrasts.svg)" in text
    assert {file: file.read_bytes() for file in regenerate(tmp_path / "kept", docs)} == first


def test_a_toys_numbers_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ConfigError, match="quick"):
        keep(tmp_path, "quick")


def test_an_unfinished_run_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="finished"):
        keep(tmp_path, "cpu")
