"""Properties of the formulas of posed scenes, on made-up points and on rendered rooms."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vega3d.errors import ConfigError, InputError
from vega3d.geometry import contains
from vega3d.rooms import Clip, Room, make_room, render
from vega3d.scene3d import (
    GroundingHead,
    back_project,
    coverage_frames,
    grounding_loss,
    object_features,
    object_mask,
    pool_coordinates,
    position_encoding,
    uniform_frames,
    voxel_index,
)

SEEDS = (200_000_005, 200_000_011, 200_000_021)


@pytest.fixture(scope="module", params=SEEDS)
def filmed(request: pytest.FixtureRequest) -> tuple[Room, Clip, Tensor]:
    """A still room, four frames of it, and their points (V, h, w, 3)."""
    room = make_room(request.param).at(0.0)
    clip = render(room, width=48, height=36, frames=4)
    matrix = clip.K.copy()
    matrix[:2, 2] -= 0.5  # the renderer has the centre of a pixel at (0.5, 0.5)
    millimetres = torch.from_numpy(clip.depth) * 1000
    return room, clip, back_project(millimetres, torch.from_numpy(matrix), torch.from_numpy(clip.poses))


def test_points_of_a_room_lie_on_its_shell_or_in_a_box(filmed: tuple[Room, Clip, Tensor]) -> None:
    room, _, points = filmed
    flat = points.reshape(-1, 3).double().numpy()
    half = np.array([room.size[0] / 2, room.size[1] / 2])
    on_wall = (np.abs(np.abs(flat[:, :2]) - half) < 0.02).any(1)
    on_shell = on_wall | (np.abs(flat[:, 2]) < 0.02) | (np.abs(flat[:, 2] - room.size[2]) < 0.02)
    in_box = np.any([contains(thing.box, flat, 0.02) for thing in room.instances], axis=0)
    assert (on_shell | in_box).mean() >= 0.999


def test_a_token_without_depth_has_no_coordinate() -> None:
    points, valid = torch.ones(1, 28, 28, 3), torch.ones(1, 28, 28, dtype=torch.bool)
    valid[:, :14, :14] = False
    valid[:, 20:, 20:] = False
    pooled = pool_coordinates(points, size=28, patch=14, grid=2, valid=valid)
    assert pooled[0, 0, 0].isnan().all()
    assert torch.equal(pooled[0, 1, 1], torch.ones(3))
    extremes = pool_coordinates(points, size=28, patch=14, grid=2, rule="minmax", valid=valid)
    assert extremes[0, 0, 0].isnan().all()
    assert torch.equal(extremes[0, 1, 1], torch.ones(2, 3))


def test_holes_do_not_move_the_mean_of_the_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(2, 30, 40, 3, generator=generator)
    valid = torch.rand(2, 30, 40, generator=generator) > 0.4
    spoiled = torch.where(valid[..., None], points, 1e6)
    pooled = pool_coordinates(spoiled, size=56, patch=14, grid=4, valid=valid)
    assert pooled.abs().max() < 5


@given(st.integers(1, 300), st.integers(1, 64))
def test_uniform_frames_are_in_order_and_inside(n: int, k: int) -> None:
    frames = uniform_frames(n, k)
    assert len(frames) == k
    assert frames == sorted(frames)
    assert frames[0] == 0
    assert frames[-1] == (n - 1 if k > 1 else 0)


@given(st.lists(st.lists(st.integers(-9, 9), max_size=12), min_size=1, max_size=8), st.integers(1, 8))
def test_coverage_is_never_below_that_of_the_first_frames(columns: list[list[int]], k: int) -> None:
    voxels = [np.array([[x, 0, -x] for x in column], dtype=int).reshape(-1, 3) for column in columns]
    chosen = coverage_frames(voxels, k)
    assert chosen == coverage_frames(copy.deepcopy(voxels), k)
    assert len(set(chosen)) == len(chosen) <= k
    shown = {x for index in chosen for x in columns[index]}
    largest = max((set(column) for column in columns), key=len)
    assert len(shown) >= len(largest)
    if k >= len(columns):
        assert shown == {x for column in columns for x in column}


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_voxels_stay_inside_the_published_range(x: float, y: float, z: float) -> None:
    index = voxel_index(torch.tensor([x, y, z]))
    assert torch.equal(index, index.round())
    assert (index >= 0).all()
    assert (index <= torch.tensor([300.0, 300.0, 100.0])).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_coordinate_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="not finite"):
        voxel_index(torch.tensor([[0.0, value, 0.0]]))


def test_a_translation_beyond_the_range_changes_nothing_more() -> None:
    far, further = torch.tensor([20.0, -20.0, 9.0]), torch.tensor([90.0, -90.0, 90.0])
    assert torch.equal(voxel_index(far), voxel_index(further))


def test_whole_numbers_are_encoded_as_floats() -> None:
    index = torch.tensor([[3, 7, 11]])
    assert torch.equal(position_encoding(index, 24), position_encoding(index.float(), 24))


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(3, 64))
def test_every_channel_of_an_encoding_is_a_wave_or_zero(points: int, width: int) -> None:
    encoding = position_encoding(torch.full((2, points, 3) if points > 1 else (2, 3), 17.0), width, points)
    used = width // (3 * points) * 3 * points
    assert encoding.shape == (2, width)
    assert encoding.abs().max() <= 1
    assert not encoding[:, used:].any()


def test_an_unseen_object_has_the_encoding_of_its_centre_alone() -> None:
    points, centre = torch.zeros(1, 30, 40, 3), torch.tensor([[5.0, 5.0, 1.0]])
    boxes = torch.cat([centre, torch.ones(1, 3)], dim=1)
    mask = object_mask(points, boxes)
    features = object_features(torch.ones(1, 729, 24), mask, centre)
    assert not mask.any()
    assert torch.equal(features, position_encoding(voxel_index(centre), 24))


def test_a_scene_without_objects_has_no_features() -> None:
    mask = object_mask(torch.zeros(2, 30, 40, 3), torch.zeros(0, 6))
    assert mask.shape == (0, 2, 27, 27)
    assert object_features(torch.ones(2, 729, 24), mask, torch.zeros(0, 3)).shape == (0, 24)


@pytest.mark.parametrize("count", [0, 1, 200])
def test_any_number_of_objects_is_scored(count: int) -> None:
    scores = GroundingHead(16)(torch.randn(count, 16), torch.randn(16))
    assert scores.shape == (count + 1,)
    assert scores.abs().max() <= 1 + 1e-6


def test_the_loss_has_the_gradient_of_its_formula() -> None:
    scores = torch.rand(6, dtype=torch.float64, requires_grad=True)
    for positives in ([2], [0, 3], []):
        assert torch.autograd.gradcheck(lambda s, right=positives: grounding_loss(s, right), (scores,))


def test_the_list_of_the_caller_never_changes() -> None:
    positives: list[int] = []
    grounding_loss(torch.rand(4), positives)
    assert positives == []


def test_a_large_score_does_not_overflow() -> None:
    assert torch.isfinite(grounding_loss(torch.tensor([1e4, 0.0, -1e4]), [1]))


def test_every_parameter_of_the_head_has_a_gradient() -> None:
    head = GroundingHead(16)
    grounding_loss(head(torch.randn(5, 16), torch.randn(16)), []).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def wrong_calls() -> Iterator[tuple[str, object]]:
    points, boxes = torch.zeros(1, 4, 4, 3), torch.zeros(2, 6)
    yield "depth", lambda: back_project(torch.zeros(4, 4), torch.eye(3), torch.eye(4)[None])
    yield "intrinsics", lambda: back_project(torch.zeros(1, 4, 4), torch.eye(2), torch.eye(4)[None])
    yield "poses", lambda: back_project(torch.zeros(2, 4, 4), torch.eye(3), torch.eye(4)[None])
    yield "points", lambda: pool_coordinates(torch.zeros(4, 4, 3))
    yield "mask", lambda: pool_coordinates(points, valid=torch.ones(1, 2, 2, dtype=torch.bool))
    yield "patches", lambda: pool_coordinates(points, size=10)
    yield "encoding", lambda: position_encoding(torch.zeros(2, 4, 3), 12, 5)
    yield "voxels", lambda: voxel_index(torch.zeros(2, 4))
    yield "boxes", lambda: object_mask(points, boxes[:, :3])
    yield "objects", lambda: object_features(torch.zeros(1, 729, 8), torch.zeros(2, 1, 27, 27), boxes[:1, :3])
    yield "positives", lambda: grounding_loss(torch.zeros(3), [2])
    yield "frames", lambda: uniform_frames(0, 3)
    yield "coverage", lambda: coverage_frames([np.zeros((2, 2), int)], 3)


@pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in wrong_calls()])
def test_a_wrong_shape_is_a_typed_error(call: object) -> None:
    with pytest.raises(InputError):
        call()  # type: ignore[operator]


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="median"):
        pool_coordinates(torch.zeros(1, 4, 4, 3), rule="median")
