"""The motion plan: its arms, its chain at toy length, and its analysis."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.miniature.__main__ import main
from experiments.miniature.motion.analysis import analyse
from experiments.miniature.motion.arms import ARMS, HOSTS, RIVALS, VIDEO
from experiments.miniature.motion.config import CONFIGS, load
from experiments.miniature.motion.pipeline import RESULTS, check_power, run
from experiments.miniature.packing import packed
from experiments.miniature.pages import DOCS, FILE, PAGE
from experiments.miniature.power import Spread, expected_effect, require_visible, smallest_seen
from vega3d.errors import ConfigError

PLAN = CONFIGS.parents[1] / "PREREGISTRATION_MOTION.md"
KINDS = ("camera_turn", "camera_aside")
QUICK = load("quick", ["arms=[video_window, small, true_motion]", "rooms.train=3", "rooms.test=3"])


# ---------------------------------------------------------------- the plan


def test_the_config_is_the_plans() -> None:
    settings, text = load("motion"), PLAN.read_text(encoding="utf-8")
    assert (settings.rooms.train, settings.rooms.test, settings.rooms.run) == (960, 600, 81)
    assert settings.rooms.test_split == "test"
    assert (settings.seeds, settings.tuning.steps) == ((0, 1, 2), (160, 400))
    assert settings.curve == (60, 240, 960)
    assert all(f"`{arm}`" in text for arm in settings.arms)
    assert {VIDEO, *HOSTS, *RIVALS, "true_motion"} <= set(settings.arms)


def test_the_plan_states_the_power_that_the_code_computes() -> None:
    text, own = PLAN.read_text(encoding="utf-8"), load("motion").expected
    assert own is not None
    for rooms, levels in ((own.rooms, ("5.88", "6.47")), (19.0, ("5.32", "5.85"))):
        for level, shown in zip((0.05, 0.025), levels, strict=True):
            assert f"{smallest_seen(Spread(rooms, own.seeds), 600, 3, level=level):.2f}" == shown
            assert shown in text
    assert check_power(load("motion")) == pytest.approx(36 * 0.97)


def test_the_expected_effect_is_the_probes_gap_times_the_uptake() -> None:
    assert expected_effect(3.3, 0.13) == pytest.approx(0.429)
    with pytest.raises(ConfigError, match="gap and uptake"):
        expected_effect(3.3, float("nan"))


def test_a_plan_that_cannot_see_what_it_expects_is_refused() -> None:
    spread = Spread.expected("where")
    with pytest.raises(ConfigError, match=r"0\.43 points"):  # the second plan, by its own figures
        require_visible(spread, 600, 2, gap=3.3, uptake=0.13)
    assert require_visible(spread, 600, 2, gap=3.3, uptake=1.0) == pytest.approx(3.3)
    with pytest.raises(ConfigError, match="cannot see"):
        run(load("motion", ["expected.gap=5"]), Path("none"))


def test_a_run_without_the_twin_names_the_command_that_makes_it() -> None:
    with pytest.raises(ConfigError, match="flow --kind image"):
        load("motion").require_encoders()


# ---------------------------------------------------------------- the chain


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The chain at toy length, stopped twice and continued by the same call."""
    out = tmp_path_factory.mktemp("motion")
    for _ in range(2):
        assert run(QUICK, out, minutes=1e-6, say=lambda line: None) == {}
    return out, run(QUICK, out, say=lambda line: None)


def test_a_chain_that_is_stopped_again_and_again_ends_with_results(finished: tuple[Path, Any]) -> None:
    out, results = finished
    assert (out / RESULTS).exists()
    assert {one["arm"] for one in results["runs"]} == set(QUICK.arms)
    count = len(results["questions"])
    assert all(len(one["scores"]) == count for one in results["runs"])
    assert sum("swapped" in one for one in results["runs"]) == 1
    lines: list[str] = []
    assert run(QUICK, out, say=lines.append) == results
    assert not any("begins" in line for line in lines)


def test_the_results_become_tables_by_one_function(finished: tuple[Path, Any], tmp_path: Path) -> None:
    from experiments.miniature.motion.pages import report

    text, _ = report(finished[1], tmp_path, "miniature/motion")
    assert "Wan, video, window, another room's" in text
    assert "host, one picture (by construction)" in text
    assert "The gate is" in text


def test_an_interrupted_arm_ends_with_the_weights_of_one_that_was_not(
    finished: tuple[Path, Any], tmp_path: Path
) -> None:
    from experiments.miniature.motion.bed import Bed, host_grid
    from experiments.miniature.motion.config import Tuning
    from experiments.miniature.motion.rooms import load_set
    from experiments.miniature.motion.train import Source, train

    rooms, tuning = load_set(finished[0] / "rooms" / "train", 3), Tuning(batch=2, save=1, warmup=1)

    def trained(folder: Path, dies_at: int | None = None) -> dict[str, torch.Tensor]:
        folder.mkdir(exist_ok=True)
        bed, calls = Bed(ARMS["small"], 0, 0, tuning, host_grid(64)), iter(range(99))
        inner = bed.loss

        def loss(*given: Any) -> Any:
            if next(calls) == dies_at:
                raise KeyboardInterrupt
            return inner(*given)

        bed.loss = loss  # type: ignore[method-assign]
        train(folder, bed, Source(bed, rooms, None), 3, 3, 0, tuning, KINDS)
        return {name: p.detach() for name, p in bed.named_parameters() if p.requires_grad}

    expected = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", dies_at=2)
    again = trained(tmp_path / "killed")
    assert expected.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in expected.items())


def test_a_host_with_one_picture_gets_the_same_tokens_for_both_twins(finished: tuple[Path, Any]) -> None:
    from experiments.miniature.motion.bed import Bed, host_grid
    from experiments.miniature.motion.config import Tuning
    from experiments.miniature.motion.rooms import load_set
    from experiments.miniature.motion.train import Source

    rooms = load_set(finished[0] / "rooms" / "train", 2)
    one, five = (
        Source(Bed(ARMS[name], 0, 0, Tuning(), host_grid(64)), rooms, None)
        for name in ("small", "host_five_frozen")
    )
    twins = [(0, 0), (0, 1)]
    with torch.no_grad():
        same = torch.stack([one._tokens(*clip) for clip in twins])
        other = five.visual(twins)
    assert torch.equal(same[0], same[1])
    assert not torch.equal(other[0], other[1])
    assert other.shape[1] == 5 * same.shape[1]


# ---------------------------------------------------------------- the analysis


def toy(right: dict[str, float], rooms: int = 200) -> dict[str, Any]:
    """Results in which each arm is right with a probability."""
    rng = np.random.default_rng(0)
    questions = [[f"{n} {t} {k}", str(n), k] for n in range(rooms) for t in (0, 1) for k in KINDS]
    runs = []
    for arm, chance in right.items():
        for seed in (0, 1, 2):
            scores = packed((rng.random(len(questions)) < chance).astype(float).tolist())
            run = {"arm": arm, "steps": 400, "rooms": 960, "seed": seed, "scores": scores}
            if arm == VIDEO:
                run["swapped"] = packed((rng.random(len(questions)) < 0.5).astype(float).tolist())
            runs.append(run)
    every = packed([1.0] * len(questions))
    probes = {"true_motion": {"best": "mlp", "mlp": every, "ridge": every}}
    return {"questions": questions, "draws": 500, "train": 960, "runs": runs, "probes": probes}


ALL = {
    "true_motion": 0.99,
    VIDEO: 0.9,
    "host_five_frozen": 0.5,
    "host_five_trained": 0.55,
    "image_window": 0.6,
    "latents_window": 0.8,
    "small": 0.8,
}


def test_kept_results_become_the_block_of_the_page_and_its_figure_by_one_command(tmp_path: Path) -> None:
    kept, docs = tmp_path / "kept" / "motion", tmp_path / "docs"
    kept.mkdir(parents=True)
    docs.mkdir()
    results = toy(ALL)
    curve = [{**run, "rooms": rooms} for run in toy({VIDEO: 0.7})["runs"] for rooms in (60, 240)]
    (kept / FILE).write_text(json.dumps({**results, "runs": [*results["runs"], *curve]}))
    shutil.copy(DOCS / PAGE, docs / PAGE)
    options = ["figures", "--results", str(tmp_path / "kept"), "--docs", str(docs)]
    assert main(options) == 0
    first = (docs / PAGE).read_bytes()
    assert main(options) == 0
    assert (docs / PAGE).read_bytes() == first
    text = first.decode()
    assert "The gate is open" in text
    assert "(miniature/motion/curve.svg)" in text
    assert "| true motion | mlp | 0.98" in text or "| true motion | mlp | 0.99" in text
    assert (docs / "miniature" / "motion" / "curve.svg").exists()


def test_p1_compares_with_the_better_host_and_p2_with_each_rival() -> None:
    analysis = analyse(toy(ALL))
    assert analysis["gate"]["open"]
    assert analysis["primary"]["P1"]["over"] == "host_five_trained"
    assert analysis["primary"]["P1"]["found"]
    assert analysis["primary"]["P2"]["found"]
    assert set(analysis["primary"]["P2"]["each"]) == set(RIVALS)


@pytest.mark.parametrize("rival", RIVALS)
def test_p2_is_not_claimed_if_one_rival_is_as_good(rival: str) -> None:
    analysis = analyse(toy({**ALL, rival: 0.92}))
    assert not analysis["primary"]["P2"]["found"]
    assert analysis["primary"]["P1"]["found"]
    assert any("P2" in line and "not found" in line for line in analysis["verdict"])


def test_a_closed_gate_leaves_nothing_to_say() -> None:
    assert analyse(toy({**ALL, "true_motion": 0.8}))["verdict"] == [
        "The gate is closed: this run cannot speak about P1 and P2."
    ]


def test_uptake_of_true_motion_is_near_1() -> None:
    (low, high) = analyse(toy(ALL))["uptake"]["true_motion"]["interval_95"]
    assert 0.9 < low < high < 1.02
