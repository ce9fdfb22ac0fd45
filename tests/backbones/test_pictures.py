"""Any picture fits the tower: the whole of it, within the budget, at its own aspect."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backbones.conftest import random_frames
from vega3d import WanBackbone, WanConfig
from vega3d.backbones.wan.backbone import prepare, tower_size
from vega3d.errors import InputError

SIDE = st.integers(1, 8000)


@settings(deadline=None, max_examples=300)
@given(height=SIDE, width=SIDE, tokens=st.integers(1, 3600))
def test_the_whole_picture_fits_the_budget(height: int, width: int, tokens: int) -> None:
    rows, columns = tower_size(height, width, WanConfig(max_tokens=tokens))
    assert rows % 16 == columns % 16 == 0
    assert 1 <= (rows // 16) * (columns // 16) <= tokens


@settings(deadline=None, max_examples=200)
@given(height=st.integers(200, 4000), width=st.integers(200, 4000))
def test_the_aspect_is_kept_to_one_token(height: int, width: int) -> None:
    rows, columns = (side / 16 for side in tower_size(height, width, WanConfig()))
    ideal = math.sqrt(832 * 480 / 256 * height / width)
    assert abs(rows - ideal) <= 1.5
    assert abs(columns - ideal * width / height) <= 1.5


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(480, 832, (480, 832)), (968, 1296, (544, 736)), (480, 640, (544, 736)), (1080, 1920, (480, 848))],
)
def test_common_sizes_get_about_the_trained_area(height: int, width: int, size: tuple[int, int]) -> None:
    found = tower_size(height, width, WanConfig())
    assert abs(found[0] * found[1] / (832 * 480) - 1) < 0.06
    assert found == size


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (3000, 2), (17, 33), (16, 16)])
def test_odd_and_extreme_sizes_are_encoded(shape: tuple[int, int], pico: WanBackbone) -> None:
    features = pico([random_frames(1, *shape)])[0].features
    assert features.isfinite().all()


def test_a_huge_picture_is_encoded(pico: WanBackbone) -> None:
    assert pico([random_frames(1, 3000, 4000)])[0].features.shape[1] == 1


def test_nothing_of_the_whole_picture_is_cut_off() -> None:
    frame = torch.zeros(3, 300, 400, dtype=torch.uint8)
    frame[:, :20], frame[:, -20:], frame[:, :, :20], frame[:, :, -20:] = 255, 255, 255, 255
    picture = prepare(frame, WanConfig())
    edges = (picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1])
    assert all((edge > 0.99).all() for edge in edges)


def test_the_reference_picture_cuts_top_and_bottom_of_a_photograph() -> None:
    frame = torch.zeros(3, 480, 640, dtype=torch.uint8)
    frame[:, :40] = 255
    assert prepare(frame, WanConfig.reference()).max() < 1e-5


def test_downscaling_is_antialiased() -> None:
    stripes = torch.zeros(3, 480 * 4, 832 * 4, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    inside = prepare(stripes, WanConfig())[:, :, 1:-1]  # the outermost column sees half a kernel
    assert (inside - 0.5).abs().max() < 0.02


def test_a_whole_picture_is_read_by_area_and_a_reference_picture_is_stretched(pico: WanBackbone) -> None:
    from vega3d.pico import pico_path

    crop = WanBackbone.from_pretrained(pico_path("wan"), config=WanConfig.reference(block=0, size=(64, 32)))
    assert pico([random_frames(1)])[0].resampling == "area"
    assert crop([random_frames(1)])[0].resampling == "bilinear"


@pytest.mark.parametrize(
    ("frames", "named"),
    [
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), "at least one frame"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "frame\\[None\\]"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.uint8), "convert to RGB"),
        (torch.full((1, 3, 8, 8), 200.0), "Invalid range"),
        (torch.full((1, 3, 8, 8), -0.5), "Invalid range"),
        (torch.full((1, 3, 8, 8), float("nan")), "Invalid range"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "Invalid dtype"),
    ],
)
def test_frames_that_make_no_sense_are_refused(frames: torch.Tensor, named: str, pico: WanBackbone) -> None:
    with pytest.raises(InputError, match=named):
        pico([frames])


def test_a_picture_that_is_no_multiple_of_16_is_refused(pico: WanBackbone) -> None:
    with pytest.raises(InputError, match="multiples of 16"):
        pico.latents(torch.zeros(1, 3, 40, 64))


def test_a_clip_whose_last_frames_would_be_dropped_is_refused(pico: WanBackbone) -> None:
    with pytest.raises(InputError, match="1 \\+ 4k"):
        pico.latents(torch.zeros(1, 3, 4, 32, 32))
