"""Formulas of posed scenes equal the published functions; see ``tests/goldens/scene3d``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

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

GOLDENS = Path(__file__).parents[1] / "goldens" / "scene3d"
METRES = 2e-5


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    return load_file(GOLDENS / "inputs.safetensors")


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return load_file(GOLDENS / "expected.safetensors")


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    record: dict[str, Any] = json.loads((GOLDENS / "manifest.json").read_text(encoding="utf-8"))
    return record


@pytest.fixture(scope="module")
def points(inputs: dict[str, Tensor]) -> Tensor:
    pose = inputs["axis_align"] @ inputs["pose"]
    return back_project(inputs["depth"], inputs["depth_intrinsic"], pose)


def distance(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a.float() - b.float()).abs().max().item()


def test_world_coordinates(points: Tensor, expected: dict[str, Tensor]) -> None:
    assert points.dtype == torch.float32
    assert distance(points, expected["world_coords"]) < METRES


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("mean", "pooled_avg"),
        ("minmax", "pooled_minmax"),
        ("sample9", "sample9"),
        ("sample5", "sample5"),
        ("sample1", "sample1"),
    ],
)
def test_coordinates_of_tokens(rule: str, name: str, points: Tensor, expected: dict[str, Tensor]) -> None:
    assert distance(pool_coordinates(points, rule=rule), expected[name]) < METRES


@pytest.mark.parametrize(
    ("dtype", "suffix"), [(torch.float32, ""), (torch.bfloat16, "_bf16"), (torch.float16, "_f16")]
)
def test_voxels_and_their_encoding_in_each_precision(
    dtype: torch.dtype, suffix: str, expected: dict[str, Tensor]
) -> None:
    index = voxel_index(expected[f"pooled_avg{suffix}"], dtype)
    assert index.dtype == dtype
    assert torch.equal(index, expected[f"discrete{suffix}"])
    encoding = position_encoding(index, 20).flatten(1, 2)
    assert distance(encoding, expected[f"pe_discrete{suffix}"]) < 1e-6


@pytest.mark.parametrize("width", [12, 14, 15, 23, 3584])
def test_encodings_of_each_width(width: int, inputs: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert distance(position_encoding(inputs["pe_points"], width), expected[f"pe_D{width}"]) < 1e-6


@pytest.mark.parametrize(("points_each", "width"), [(2, 20), (9, 60)])
def test_encodings_of_several_points(
    points_each: int, width: int, inputs: dict[str, Tensor], expected: dict[str, Tensor]
) -> None:
    encoding = position_encoding(inputs[f"pe_points{points_each}"], width, points_each)
    assert distance(encoding, expected[f"pe_n{points_each}_D{width}"]) < 1e-6


def test_tokens_of_objects(points: Tensor, inputs: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert torch.equal(object_mask(points, inputs["boxes"]), expected["object_patch14"].bool())


def test_features_of_objects(points: Tensor, inputs: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    boxes, weight, bias = inputs["boxes"], inputs["w.mm_projector.weight"], inputs["w.mm_projector.bias"]
    tokens = torch.nn.functional.linear(inputs["tower_features"], weight, bias)
    small = object_features(tokens, object_mask(points, boxes), boxes[:, :3])
    large = object_features(expected["pool2d"], object_mask(points, boxes, 27, 0.25), boxes[:, :3])
    assert distance(small, expected["object_features_plain"]) < 1e-6
    assert distance(large, expected["object_features_patch27"]) < 1e-6


def test_scores_of_objects(inputs: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    head = GroundingHead(20)
    state = {name[2:]: value for name, value in inputs.items() if name.startswith("g.")}
    head.load_state_dict(state | {"zero_target": inputs["ground_zero"]})
    at = inputs["labels"][0].tolist().index(96)  # the label of the query's token
    scores = head(inputs["ground_objects"], inputs["hidden"][0, at])
    assert distance(scores, expected["ground_scores"]) < 1e-6


def test_losses(manifest: dict[str, Any], expected: dict[str, Tensor]) -> None:
    for number, positives in enumerate(manifest["ground_cases"]):
        loss = grounding_loss(expected["ground_scores"], positives)
        assert distance(loss[None], expected[f"ground_loss_{number}"]) < 2e-6


def test_uniform_frames(manifest: dict[str, Any]) -> None:
    for count, frames in manifest["linspace32"].items():
        assert uniform_frames(int(count), 32) == frames


def test_frames_of_maximum_coverage(inputs: dict[str, Tensor], manifest: dict[str, Any]) -> None:
    pose = inputs["mc_axis_align"] @ inputs["mc_pose"]
    points = back_project(inputs["mc_depth"], inputs["mc_intrinsic"], pose)
    mesh = {tuple(voxel) for voxel in inputs["mc_pc_voxels"].tolist()}
    shown = [torch.round(frame.reshape(-1, 3) / 0.1).int().unique(dim=0).tolist() for frame in points]
    voxels = [np.array([v for v in frame if tuple(v) in mesh], dtype=int).reshape(-1, 3) for frame in shown]
    case = manifest["max_coverage"]
    assert [case["frame_names"][index] for index in coverage_frames(voxels, 32)] == case["order"]
