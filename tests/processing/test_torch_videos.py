"""Video pixels made by torch are those of the host's own processor, which needs torchvision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests import processors
from vega3d.errors import DependencyError
from vega3d.hosts.base import family_of_processor
from vega3d.inputs.torch_videos import TorchVideoProcessor

SHAPES = ((1, 48, 64), (2, 90, 61), (3, 200, 120), (4, 224, 224), (7, 33, 301))
"""Frames, height and width: odd counts, upright and very wide ones, one that needs no resize."""


def noise(shape: tuple[int, int, int]) -> torch.Tensor:
    frames, height, width = shape
    pixels = np.random.default_rng(sum(shape)).integers(0, 256, (frames, 3, height, width), dtype=np.uint8)
    return torch.from_numpy(pixels)


def both(host: Any, settings: dict[str, Any] | None = None) -> tuple[Any, TorchVideoProcessor]:
    """The host's own video processor, and ours from its settings."""
    record = host.video_processor.to_dict() if settings is None else settings
    return host.video_processor, TorchVideoProcessor(family_of_processor(host), record)


def call(frames: torch.Tensor, **changes: Any) -> dict[str, Any]:
    return {"videos": [frames], "do_sample_frames": False, "cap_pixels_per_frame": True} | changes


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_are_those_of_torchvision_bit_for_bit(host: Any, shape: tuple[int, int, int]) -> None:
    theirs, ours = both(host)
    frames = noise(shape)
    if shape[0] == 1 and type(host).__name__ == "Qwen3VLProcessor":
        frames = frames.repeat(2, 1, 1, 1)  # it refuses a single frame; Vega3DProcessor repeats it before
    for changes in ({}, {"cap_pixels_per_frame": False}, {"do_resize": shape[1:] != (224, 224)}):
        expected, made = theirs(**call(frames, **changes)), ours(**call(frames, **changes))
        assert torch.equal(made["video_grid_thw"], expected["video_grid_thw"])
        assert torch.equal(made["pixel_values_videos"], expected["pixel_values_videos"])


def test_pixels_are_the_same_under_limits_of_the_call(host: Any) -> None:
    theirs, ours = both(host)
    size = {"shortest_edge": 4 * 56 * 56, "longest_edge": 9 * 56 * 56}
    for changes in (
        {"size": size},
        {"size": size, "do_normalize": False},
        {"size": size, "do_rescale": False},
    ):
        expected, made = (part(**call(noise((4, 90, 61)), **changes)) for part in (theirs, ours))
        assert torch.equal(made["pixel_values_videos"], expected["pixel_values_videos"])


def test_floats_in_0_to_255_give_the_same_pixels(host: Any) -> None:
    theirs, ours = both(host)
    frames = noise((4, 90, 61)).float()
    made = ours(**call(frames))["pixel_values_videos"]
    assert torch.equal(made, theirs(**call(frames))["pixel_values_videos"])


def test_settings_that_the_files_leave_out_are_those_of_the_host_s_class() -> None:
    for name, (_, kind, _) in processors.HOSTS.items():
        ours = both(processors.host_processor(name), {})[1]
        theirs = getattr(transformers, kind)()
        shared = set(ours.__dict__) & set(theirs.valid_kwargs.__annotations__)
        assert shared >= {"size", "image_mean", "image_std", "patch_size", "do_sample_frames"}
        for setting in shared:
            stated, default = getattr(ours, setting), getattr(theirs, setting)
            if setting == "size":
                default = {edge: getattr(default, edge) for edge in stated}
            is_close = isinstance(stated, float) and math.isclose(stated, default)
            assert is_close or stated == default or list(stated) == list(default), setting


def test_older_names_of_the_size_are_read(host: Any) -> None:
    ours = both(host, {"min_pixels": 4 * 56 * 56, "max_pixels": 16 * 56 * 56})[1]
    assert ours.size == {"shortest_edge": 4 * 56 * 56, "longest_edge": 16 * 56 * 56}


def test_frames_that_the_host_would_sample_name_the_package_that_does_it(host: Any) -> None:
    ours = both(host)[1]
    with pytest.raises(DependencyError, match="torchvision"):
        ours(**call(noise((4, 48, 64)), do_sample_frames=True))
    with pytest.raises(DependencyError, match="torchvision"):
        ours.sample_frames()
