"""A patch in the picture is found at the same token on both sides, in every mode and for every size.

With the noise fixed, the difference that a patch inside one token of the host makes peaks at that token, or
at most one token beside it where the map is resampled. The released crop fails the same test. Tested is
where things lie, not what a network makes of them: so the weights are such that little of a position reaches
its neighbours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from tests.backbones.conftest import PICO, VACE_MODES, random_frames
from vega3d import WanBackbone, WanConfig
from vega3d.backbones.wan import weights
from vega3d.grid import TokenGrid, resample
from vega3d.hosts.qwen import QwenVL
from vega3d.media.frame_plan import frame_plan
from vega3d.pico import pico_path

Make = Callable[..., WanBackbone]
MODES = ("frame", "window", "joint", "clip", *VACE_MODES)
CELL = 28  # pixels that one token of Qwen2.5-VL covers on a side


class HostConfig:
    """The part of a host's configuration that ``QwenVL.grids`` reads."""

    class vision_config:
        spatial_merge_size = 2
        temporal_patch_size = 2


@pytest.fixture(scope="module")
def make(vace_folders: dict[str, Path]) -> Make:
    known: dict[Any, WanBackbone] = {}

    def load(mode: str = "frame", config: WanConfig = PICO, **changes: Any) -> WanBackbone:
        own = dataclasses.replace(config, mode=mode, block=1, noise="shared", **changes)  # type: ignore[arg-type]
        if own not in known:
            folder = vace_folders["diffusers"] if mode in VACE_MODES else pico_path("wan")
            transformer = weights.load_transformer(folder, 1, torch.float32)
            coder = weights.load_vae(folder)
            keep_local(transformer, coder)
            prompt = torch.ones(1, transformer.config.text_dim)
            known[own] = WanBackbone(transformer, coder, prompt, own)
        return known[own]

    return load


@torch.no_grad()
def keep_local(transformer: Any, coder: Any) -> None:
    """Weaken every weight that carries something from one position to another."""
    for module in coder.encoder.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)) and module.kernel_size[-1] == 3:
            centre = module.weight[..., 1, 1].clone()
            module.weight.mul_(0.1)
            module.weight[..., 1, 1] = centre
    for attention in coder.encoder.mid_block.attentions:
        attention.proj.weight.zero_()
    for block in [*transformer.blocks, *getattr(transformer, "vace_blocks", ())]:
        block.attn1.to_out[0].weight.mul_(0.02)


def host_grid(height: int, width: int, frames: int, budget: int) -> TokenGrid:
    """The tokens that Qwen2.5-VL makes of such a video, by its own rule for sizes."""
    rows, columns = smart_resize(height, width, factor=CELL, min_pixels=CELL * CELL, max_pixels=budget)
    steps = -(-frames // 2)
    grid_thw = torch.tensor([[steps, rows // 14, columns // 14]])
    return QwenVL().grids(HostConfig, "video", grid_thw, [frames])[0]


def peak(
    wan: WanBackbone, clip: torch.Tensor, grid: TokenGrid, frame: int, cell: tuple[int, int]
) -> tuple[int, int, int]:
    """Step, row and column of the token that changes most when a token's pixels of one frame are inverted.

    The host sees every fifth frame, so that micro-clips do not overlap.
    """
    height, width = clip.shape[2:]
    top, bottom = (round(height * at / grid.height) for at in (cell[0], cell[0] + 1))
    left, right = (round(width * at / grid.width) for at in (cell[1], cell[1] + 1))
    other = clip.clone()
    other[5 * frame, :, top:bottom, left:right] = 255 - other[5 * frame, :, top:bottom, left:right]
    plan = frame_plan(wan.config, range(0, len(clip), 5))
    links = plan.host_to_generator
    tokens = [resample(wan(one[list(plan.generative)], plan)[0], grid, links)[:, 0] for one in (clip, other)]
    change = (tokens[1] - tokens[0]).norm(dim=-1).view(len(grid.groups), grid.height, grid.width)
    place = int(change.argmax())
    row, column = divmod(place % (grid.height * grid.width), grid.width)
    return place // (grid.height * grid.width), row, column


def smooth(frames: int, height: int, width: int, seed: int) -> torch.Tensor:
    """A dark, smooth video, so that an inverted patch stands out."""
    coarse = random_frames(frames, 3, 4, seed).float() / 4
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").to(torch.uint8)


def distance(found: tuple[int, int, int], cell: tuple[int, int]) -> int:
    """Tokens between, the larger of both directions."""
    return max(abs(found[1] - cell[0]), abs(found[2] - cell[1]))


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=10)
@given(
    height=st.integers(60, 240),
    width=st.integers(60, 240),
    frames=st.sampled_from([1, 2, 3, 5]),
    budget=st.integers(4, 30),
    pixels=st.integers(20, 40),
    data=st.data(),
)
def test_a_patch_is_found_at_its_token(
    mode: str, make: Make, height: int, width: int, frames: int, budget: int, pixels: int, data: st.DataObject
) -> None:
    grid = host_grid(height, width, frames, budget * CELL * CELL)
    assume(min(grid.height, grid.width) > 1)
    frame = data.draw(st.integers(0, frames - 1), "frame")
    cell = data.draw(st.tuples(st.integers(0, grid.height - 1), st.integers(0, grid.width - 1)), "cell")
    wan = make(mode, pixels=pixels * 256)
    found = peak(wan, smooth(5 * frames - 4, height, width, seed=pixels), grid, frame, cell)
    assert distance(found, cell) <= 1
    # a clip's latent covers four frames, so it is shared by up to three time steps of the host
    assert abs(found[0] - frame // 2) <= (1 if mode == "clip" else 0)


@pytest.mark.parametrize("cell", [(0, 3), (8, 3)])
def test_the_released_crop_loses_or_misplaces_the_same_patch(cell: tuple[int, int], make: Make) -> None:
    grid = TokenGrid(((0,),), 9, 7)
    clip = smooth(1, 180, 140, 0)
    cropped = make(config=WanConfig.reference(size=(208, 128)))
    whole = make(pixels=50 * 256)
    assert distance(peak(whole, clip, grid, 0, cell), cell) <= 1
    assert distance(peak(cropped, clip, grid, 0, cell), cell) > 1
