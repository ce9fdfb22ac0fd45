"""A form says on which grid and in which precision features are kept, and how far off they are."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vega3d.errors import ConfigError
from vega3d.grid import FeatureMap
from vega3d.store import FeatureFormat

GRIDS = ("native", "pooled")
PRECISIONS = ("float32", "bfloat16", "int8")


def random_map(seed: int, steps: int = 2, height: int = 7, width: int = 9, channels: int = 6) -> FeatureMap:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(channels, steps, height, width, generator=generator) * 10 ** torch.randn(
        channels, 1, 1, 1, generator=generator
    )
    return FeatureMap(features, tuple((step,) for step in range(steps)))


def form(grid: str, precision: str, cells: int = 2) -> FeatureFormat:
    return FeatureFormat(grid, precision, cells)  # type: ignore[arg-type]


@given(seed=st.integers(0, 999), grid=st.sampled_from(GRIDS), precision=st.sampled_from(PRECISIONS))
def test_a_second_cast_changes_nothing(seed: int, grid: str, precision: str) -> None:
    kept = form(grid, precision)
    once = kept.cast(random_map(seed))
    stored = kept.unpack(kept.pack(once.features))
    assert torch.allclose(stored, once.features, rtol=1e-6, atol=0)


@pytest.mark.exact
@given(seed=st.integers(0, 999), grid=st.sampled_from(GRIDS), precision=st.sampled_from(PRECISIONS))
def test_the_cast_is_what_a_reader_gets(seed: int, grid: str, precision: str) -> None:
    kept, original = form(grid, precision), random_map(seed)
    stored = kept.pack(kept.reduce(original).features)
    assert torch.equal(kept.cast(original).features, kept.unpack(stored))


@pytest.mark.exact
@given(seed=st.integers(0, 999), steps=st.integers(1, 4))
def test_steps_are_cast_one_by_one(seed: int, steps: int) -> None:
    kept, original = form("pooled", "int8"), random_map(seed, steps)
    whole = kept.cast(original).features
    for step in range(steps):
        alone = FeatureMap(original.features[:, step : step + 1], ((0,),))
        assert torch.equal(kept.cast(alone).features[:, 0], whole[:, step])


@given(seed=st.integers(0, 999))
def test_int8_is_off_by_half_a_level_of_each_token_at_most(seed: int) -> None:
    original = random_map(seed)
    error = (form("native", "int8").cast(original).features - original.features).abs()
    level = original.features.abs().amax(dim=0, keepdim=True) / 127
    assert bool((error <= level * 0.5001).all())


@given(seed=st.integers(0, 999))
def test_bfloat16_is_off_by_a_part_in_256_at_most(seed: int) -> None:
    original = random_map(seed).features
    error = (form("native", "bfloat16").cast(random_map(seed)).features - original).abs()
    assert bool((error <= original.abs() / 256).all())


def test_a_token_of_zeros_stays_zero_in_int8() -> None:
    zeros = FeatureMap(torch.zeros(4, 1, 2, 2), ((0,),))
    assert torch.equal(form("native", "int8").cast(zeros).features, zeros.features)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("grid", "size"), [("native", (7, 9)), ("pooled", (2, 2))])
def test_the_bytes_of_a_frame_are_those_that_are_written(
    precision: str, grid: str, size: tuple[int, int]
) -> None:
    kept = form(grid, precision)
    packed = kept.pack(kept.reduce(random_map(0, steps=1)).features)
    written = sum(tensor.numel() * tensor.element_size() for tensor in packed.values())
    assert written == kept.bytes_per_frame(6, *size)


@pytest.mark.parametrize("grid", ["patch", "merged"])
def test_a_grid_of_0_1_names_the_version_that_reads_it(grid: str) -> None:
    with pytest.raises(ConfigError, match=r"version 0\.1(?s:.)*vega3d cache build"):
        form(grid, "float32")


@pytest.mark.parametrize("wrong", [{"grid": "nativ"}, {"precision": "fp8"}, {"cells": 0}])
def test_an_unknown_form_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(FeatureFormat(), **wrong)  # type: ignore[arg-type]
