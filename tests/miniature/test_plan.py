"""The plan, its power calculation and its configs."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.miniature.arms import ARMS, FURTHER_CONTRASTS, PRIMARY_CONTRASTS
from experiments.miniature.config import CONFIGS, load
from experiments.miniature.power import (
    Spread,
    power_at,
    rooms_needed,
    said,
    smallest_seen,
    standard_error,
    table,
)
from vega3d.errors import ConfigError

PLAN, SECOND = (CONFIGS.parent / f"PREREGISTRATION{name}.md" for name in ("", "_WHERE"))


def test_the_standard_error_adds_rooms_and_seeds() -> None:
    assert standard_error(Spread(rooms=6.0, seeds=1.6), rooms=4, seeds=4) == pytest.approx(3.1048, abs=1e-4)


def test_the_smallest_effect_is_2_8_standard_errors() -> None:
    assert smallest_seen(Spread(10.0, 0.0), rooms=100, seeds=1) == pytest.approx(2.8016, abs=1e-4)


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_the_rooms_that_are_needed_are_just_enough(seeds: int) -> None:
    spread = Spread.planned()
    rooms = rooms_needed(spread, seeds)
    assert rooms is not None
    assert power_at(spread, rooms, seeds) >= 0.8 > power_at(spread, rooms - 2, seeds)


def test_a_measured_spread_gives_back_the_error_that_it_came_from() -> None:
    spread = Spread.measured({"error_rooms": 2.0, "rooms": 25, "seeds": [1.0, 3.0]})
    assert (spread.rooms, spread.seeds) == pytest.approx((10.0, 2**0.5))


def test_seeds_that_vary_too_much_are_made_up_by_no_number_of_rooms() -> None:
    assert rooms_needed(Spread(rooms=9.0, seeds=2.0), seeds=1) is None


def test_the_power_is_what_a_simulation_finds() -> None:
    spread, rng = Spread(rooms=9.0, seeds=0.7), np.random.default_rng(0)
    found = (
        1.5
        + rng.normal(0, spread.rooms / 400**0.5, 20_000)
        + rng.normal(0, spread.seeds, (20_000, 3)).mean(1)
    )
    share = float(np.mean(np.abs(found) > 1.959964 * standard_error(spread, 400, 3)))
    assert share == pytest.approx(power_at(spread, 400, 3), abs=0.01)


def test_the_plan_shows_the_table_that_the_code_computes() -> None:
    assert table(Spread.planned()) in PLAN.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_config_can_be_read(file: object) -> None:
    assert load(str(file)).counts["train"] > 0


def test_the_gpu_config_has_the_power_that_the_plan_asks_for() -> None:
    settings = load("gpu")
    assert set(settings.arms) == set(ARMS)
    spread = Spread.expected(settings.questions)
    assert power_at(spread, settings.rooms.held_out, len(settings.seeds), level=0.025) >= 0.8


def test_the_second_plan_says_what_its_config_can_see() -> None:
    settings = load("where")
    text = said(Spread.expected("where"), settings.rooms.held_out, len(settings.seeds))
    assert text in SECOND.read_text(encoding="utf-8")


def test_a_misspelt_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"rooms\.held_out"):
        load("quick", ["rooms.heldout=3"])


def test_an_arm_that_reads_another_one_needs_it() -> None:
    with pytest.raises(ConfigError, match="host_twice"):
        load("quick", ["arms=[host, video_frame]"])


def test_every_contrast_is_between_two_arms() -> None:
    assert {name for pair in (*PRIMARY_CONTRASTS, *FURTHER_CONTRASTS) for name in pair} <= set(ARMS)
