"""Features keep their place: an object lies on the same token on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional as F

from vega3d.errors import InputError
from vega3d.grid import FeatureMap, TokenGrid, area_weights, resample, resize_area, time_weights

SIDE = st.integers(1, 60)
GOLDENS = Path(__file__).parent / "goldens" / "grid" / "aligned.safetensors"


def one_frame(features: torch.Tensor, resampling: str = "area") -> FeatureMap:
    """(C, h, w) as the map of a single frame."""
    return FeatureMap(features[:, None], ((0,),), resampling)  # type: ignore[arg-type]


def tokens(feature_map: FeatureMap, height: int, width: int, cells: int = 1) -> torch.Tensor:
    return resample(feature_map, TokenGrid(((0,),), height, width, cells=2), ((0,),), cells)


@given(source=SIDE, target=SIDE)
def test_area_weights_sum_to_one(source: int, target: int) -> None:
    weights = area_weights(source, target)
    assert torch.allclose(weights.sum(1), torch.ones(target, dtype=torch.float64))
    assert (weights >= 0).all()


@given(source=SIDE, target=SIDE)
def test_no_source_cell_is_lost_or_counted_twice(source: int, target: int) -> None:
    share = area_weights(source, target).sum(0) * source / target
    assert torch.allclose(share, torch.ones(source, dtype=torch.float64))


@settings(deadline=None)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), factor=st.integers(1, 5))
def test_whole_ratios_are_average_pooling(rows: int, columns: int, factor: int) -> None:
    maps = torch.randn(2, 3, rows * factor, columns * factor, dtype=torch.float64)
    assert torch.allclose(resize_area(maps, rows, columns), F.avg_pool2d(maps, factor))


@settings(deadline=None)
@given(sizes=st.tuples(SIDE, SIDE, SIDE, SIDE))
def test_the_mean_of_a_picture_is_kept(sizes: tuple[int, int, int, int]) -> None:
    maps = torch.randn(1, 1, *sizes[:2], dtype=torch.float64)
    assert torch.allclose(resize_area(maps, *sizes[2:]).mean(), maps.mean())


@settings(deadline=None)
@given(
    map_size=st.tuples(st.integers(8, 60), st.integers(8, 60)),
    grid_size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    place=st.tuples(st.floats(0.0, 0.999), st.floats(0.0, 0.999)),
)
def test_a_point_lands_on_the_token_that_covers_it(
    map_size: tuple[int, int], grid_size: tuple[int, int], place: tuple[float, float]
) -> None:
    features = torch.zeros(1, *map_size)
    features[0, int(place[0] * map_size[0]), int(place[1] * map_size[1])] = 1.0
    found = tokens(one_frame(features), *grid_size)[:, 0, 0].view(grid_size)
    row, column = divmod(int(found.argmax()), grid_size[1])
    slack = [1 + grid / size for grid, size in zip(grid_size, map_size, strict=True)]
    assert abs(row - place[0] * grid_size[0]) <= slack[0]
    assert abs(column - place[1] * grid_size[1]) <= slack[1]


def test_patches_of_a_token_average_to_the_token() -> None:
    feature_map = one_frame(torch.randn(5, 9, 13))
    split, whole = tokens(feature_map, 4, 6, cells=2), tokens(feature_map, 4, 6)
    assert split.shape == (24, 4, 5)
    assert torch.allclose(split.mean(1), whole[:, 0], atol=1e-6)


def test_tokens_and_their_patches_are_in_raster_order() -> None:
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    split = tokens(one_frame(torch.stack([rows, columns])), 2, 3, cells=2)
    assert split[1].tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert split[3].tolist() == [[2, 0], [2, 1], [3, 0], [3, 1]]


def test_a_time_step_is_the_mean_of_its_frames() -> None:
    weights = time_weights(((0,), (1,), (2,)), ((0, 1), (2, 2)), ((0,), (1,), (2,)))
    assert weights.tolist() == [[0.5, 0.5, 0], [0, 0, 1]]


def test_a_frame_described_by_two_steps_takes_their_mean() -> None:
    weights = time_weights(((0,), (1, 2)), ((0,),), ((0, 1),))
    assert weights.tolist() == [[0.5, 0.5]]


def test_a_frame_without_a_feature_is_an_error() -> None:
    with pytest.raises(InputError, match="Frame 1 of the host"):
        time_weights(((0,),), ((0, 1),), ((0,), ()))


def test_a_map_whose_frames_do_not_fit_is_an_error() -> None:
    with pytest.raises(InputError, match="disagree"):
        FeatureMap(torch.zeros(2, 3, 4, 4), ((0,),))


@pytest.mark.parametrize(("cells", "key"), [(2, "aligned"), (1, "merged_avg")])
def test_the_stretched_reading_equals_the_released_code(cells: int, key: str) -> None:
    golden = load_file(GOLDENS)
    for native, expected in zip(golden["native"], golden[key], strict=True):
        found = tokens(one_frame(native, "bilinear"), 4, 5, cells)
        if cells == 2:  # the released map is raster over all patches, ours over tokens, then patches
            found = found.view(4, 5, 2, 2, -1).transpose(1, 2).reshape(80, -1)
        assert torch.allclose(found.view(expected.shape), expected, atol=1e-4)
