"""The cast has the same bits for any shape, memory layout, thread count, instruction set and processor."""

from __future__ import annotations

import hashlib

import pytest
import torch

from vega3d.grid import FeatureMap, TokenGrid, resample
from vega3d.store import FeatureFormat

pytestmark = pytest.mark.exact

TOKENS = (3, 5)
DIGESTS = {
    ("native", "float32"): "b3fe932754b096b9",
    ("native", "bfloat16"): "48dd4f3d64b4de30",
    ("native", "int8"): "e18176db28316da7",
    ("pooled", "float32"): "3ca064c7b0e072c1",
    ("pooled", "bfloat16"): "a487ea04184661c7",
    ("pooled", "int8"): "b1d592a9f0043bc5",
}
RESAMPLED = {
    ("area", 1): "8719cc8fcfe7ca60",
    ("area", 2): "cf6ae2a989214f41",
    ("part", 1): "eb5ead876b7820b5",
    ("part", 2): "ff136814bbcd1428",
    ("bilinear", 1): "cfb16ec5b8c7a8db",
    ("bilinear", 2): "67bd43a1ac23b5cb",
}
THREADS = pytest.mark.parametrize("threads", [1, 2], indirect=True)


def feature_map(steps: int = 3, height: int = 7, width: int = 9, channels: int = 22) -> FeatureMap:
    """Numbers of 24 bits from 2**-17 to 2**15, and a few subnormal ones, made of integers alone."""
    position = torch.arange(channels * steps * height * width)
    scrambled = position * 2_654_435_761 % 2**32
    exponent = torch.where(position % 97 == 0, 0, 110 + (scrambled >> 10) % 32)
    bits = scrambled % 2**23 + (exponent << 23) + ((scrambled >> 31) << 31)
    features = torch.where(bits >= 2**31, bits - 2**32, bits).to(torch.int32).view(torch.float32)
    return FeatureMap(features.view(channels, steps, height, width), tuple((step,) for step in range(steps)))


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


@THREADS
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("grid", ["native", "pooled"])
def test_a_cast_has_the_bits_that_it_has_on_every_machine(threads: int, grid: str, precision: str) -> None:
    form = FeatureFormat(grid, precision, 2)  # type: ignore[arg-type]
    cast = form.cast(feature_map()).features
    assert digest(cast) == DIGESTS[grid, precision]


@THREADS
@pytest.mark.parametrize("cells", [1, 2])
@pytest.mark.parametrize("resampling", ["area", "part", "bilinear"])
def test_a_hosts_tokens_have_the_bits_that_they_have_on_every_machine(
    threads: int, resampling: str, cells: int
) -> None:
    whole = feature_map()
    maps = {
        "area": whole,
        "part": FeatureMap(whole.features, whole.frames, extent=(0.0, 0.0, 0.875, 0.9)),
        "bilinear": FeatureMap(whole.features, whole.frames, "bilinear"),
    }
    grid = TokenGrid(((0, 1), (2, 3)), *TOKENS, cells=2)
    tokens = resample(maps[resampling], grid, ((0,), (1, 2), (1,), (0, 1, 2)), cells)
    assert digest(tokens) == RESAMPLED[resampling, cells]


@pytest.mark.parametrize("threads", [2], indirect=True)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_at_true_size_the_number_of_threads_changes_no_bit_of_a_cast(threads: int, precision: str) -> None:
    form, original = FeatureFormat("pooled", precision), feature_map(1, 30, 52, 1536)  # type: ignore[arg-type]
    several = form.cast(original).features
    torch.set_num_threads(1)
    assert torch.equal(several, form.cast(original).features)


@THREADS
@pytest.mark.parametrize("channels", [1, 6, 16, 21])
def test_the_channels_that_stand_beside_a_number_change_no_bit_of_it(threads: int, channels: int) -> None:
    form, original = FeatureFormat("pooled", "float32", 5), feature_map()
    some = FeatureMap(original.features[:channels].contiguous(), original.frames)
    assert torch.equal(form.cast(some).features, form.cast(original).features[:channels])


@THREADS
@pytest.mark.parametrize("resampling", ["area", "bilinear"])
def test_how_a_map_lies_in_memory_changes_no_bit_of_its_tokens(threads: int, resampling: str) -> None:
    features, frames = feature_map().features, feature_map().frames
    stored = features.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)  # as a shard holds them
    grid, links = TokenGrid(((0, 1), (2,)), *TOKENS, cells=2), ((0,), (1,), (2,))
    one, other = (
        resample(FeatureMap(layout, frames, resampling), grid, links, 2)  # type: ignore[arg-type]
        for layout in (features, stored)
    )
    assert torch.equal(one, other)


def test_a_trainers_autocast_changes_no_bit_of_a_hosts_tokens() -> None:
    grid, links = TokenGrid(((0, 1), (2,)), *TOKENS), ((0,), (1,), (2,))
    expected = resample(feature_map(), grid, links)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resample(feature_map(), grid, links), expected)
