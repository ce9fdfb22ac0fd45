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


def test_an_infinite_number_reaches_only_the_tokens_that_cover_it() -> None:
    maps = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
    maps[..., 0, 5] = torch.inf
    placed = resize_area(maps, 3, 4)
    assert placed[0, 0].isinf().nonzero().tolist() == [[0, 3]]
    assert placed.nan_to_num(posinf=0).count_nonzero() == 0


@pytest.mark.parametrize("resampling", ["area", "bilinear"])
def test_gradients_reach_a_map_through_its_tokens(resampling: str) -> None:
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    grid, frames = TokenGrid(((0, 1), (2,)), 3, 2, cells=2), ((0,), (1,), (2,))

    def found(given: torch.Tensor) -> torch.Tensor:
        return resample(FeatureMap(given, frames, resampling), grid, frames)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(found, features)


@settings(deadline=None)
@given(sizes=st.tuples(SIDE, SIDE, SIDE, SIDE))
def test_stretching_is_torchs_bilinear_interpolation(sizes: tuple[int, int, int, int]) -> None:
    maps = torch.randn(3, *sizes[:2], dtype=torch.float64)
    found = resample(one_frame(maps, "bilinear"), TokenGrid(((0,),), *sizes[2:]), ((0,),))
    expected = F.interpolate(maps[None], size=sizes[2:], mode="bilinear", align_corners=False)
    assert torch.allclose(found[:, 0].T.view(3, *sizes[2:]), expected[0])


PART = st.tuples(st.floats(0.0, 0.8), st.floats(0.05, 1.0)).map(lambda p: (p[0], p[0] + p[1] * (1 - p[0])))


@given(source=SIDE, target=SIDE, part=PART)
def test_weights_of_a_map_of_a_part_sum_to_one(source: int, target: int, part: tuple[float, float]) -> None:
    weights = area_weights(source, target, *part)
    assert torch.allclose(weights.sum(1), torch.ones(target, dtype=torch.float64))
    assert (weights >= 0).all()


@given(source=SIDE, target=SIDE)
def test_the_whole_picture_is_the_default_extent(source: int, target: int) -> None:
    assert torch.equal(area_weights(source, target, 0.0, 1.0), area_weights(source, target))


@settings(deadline=None)
@given(
    map_size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    missing=st.tuples(*[st.integers(0, 3)] * 4),
    grid_size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_beyond_its_extent_a_map_is_its_nearest_edge_cell(
    map_size: tuple[int, int], missing: tuple[int, int, int, int], grid_size: tuple[int, int]
) -> None:
    top, left, bottom, right = missing  # cells that the map lacks on each side
    rows, columns = map_size[0] + top + bottom, map_size[1] + left + right
    extent = (top / rows, left / columns, 1 - bottom / rows, 1 - right / columns)
    maps = torch.randn(1, 2, *map_size, dtype=torch.float64)
    filled = F.pad(maps, (left, right, top, bottom), mode="replicate")
    assert torch.allclose(resize_area(maps, *grid_size, extent), resize_area(filled, *grid_size))


@settings(deadline=None)
@given(
    picture=st.tuples(st.integers(40, 90), st.integers(40, 90)),
    patch=st.integers(3, 9),
    grid_size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    data=st.data(),
)
def test_a_cell_of_a_part_lands_on_the_tokens_that_it_covers_in_the_picture(
    picture: tuple[int, int], patch: int, grid_size: tuple[int, int], data: st.DataObject
) -> None:
    size = (picture[0] // patch, picture[1] // patch)  # whole patches from the top left; a strip is left over
    cell = data.draw(st.tuples(*(st.integers(0, side - 1) for side in size)), "cell")
    features = torch.zeros(1, *size)
    features[(0, *cell)] = 1.0
    extent = (0.0, 0.0, size[0] * patch / picture[0], size[1] * patch / picture[1])
    found = tokens(FeatureMap(features[:, None], ((0,),), extent=extent), *grid_size)[:, 0, 0].view(grid_size)
    for axis in (0, 1):
        last = cell[axis] == size[axis] - 1  # the last cell stands for the strip, too
        ends = (cell[axis] * patch, picture[axis] if last else (cell[axis] + 1) * patch)
        covered = [
            index
            for index in range(grid_size[axis])
            if index * picture[axis] < ends[1] * grid_size[axis] - 1e-6
            and (index + 1) * picture[axis] > ends[0] * grid_size[axis] + 1e-6
        ]
        lit = found.amax(dim=1 - axis).gt(1e-6).nonzero().flatten().tolist()
        assert lit == covered


def test_a_map_of_a_part_is_resampled_by_its_extent() -> None:
    ramp = torch.arange(3.0).expand(1, 1, 3, 3)  # (C, T, h, w): the column's number
    part = FeatureMap(ramp, ((0,),), extent=(0.0, 0.0, 0.75, 0.75))
    assert tokens(part, 1, 4)[:, 0, 0].tolist() == [0, 1, 2, 2]
    assert tokens(FeatureMap(ramp, ((0,),)), 1, 3)[:, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "extent", [(0.5, 0.0, 0.5, 1.0), (0.0, 0.9, 1.0, 0.1), (-0.1, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.1)]
)
def test_an_extent_that_is_no_part_of_the_picture_is_refused(
    extent: tuple[float, float, float, float],
) -> None:
    with pytest.raises(InputError, match="extent"):
        FeatureMap(torch.zeros(2, 1, 4, 4), ((0,),), extent=extent)


def test_a_stretched_map_of_a_part_is_refused() -> None:
    with pytest.raises(InputError, match="bilinear"):
        FeatureMap(torch.zeros(2, 1, 4, 4), ((0,),), "bilinear", (0.0, 0.0, 0.9, 0.9))


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
    with pytest.raises(InputError, match="frame 1 of the host"):
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
