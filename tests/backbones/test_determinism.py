"""A feature depends on its frame and the settings, on nothing else."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from tests.backbones.conftest import PICO, random_frames
from vega3d import WanBackbone
from vega3d.pico import pico_path


def maps(backbone: WanBackbone, *clips: torch.Tensor) -> list[torch.Tensor]:
    return [one.features for one in backbone(list(clips))]


@pytest.fixture(scope="module")
def batched() -> WanBackbone:
    return WanBackbone.from_pretrained(pico_path("wan"), config=dataclasses.replace(PICO, micro_batch=4))


@pytest.mark.exact
@pytest.mark.parametrize("name", ["pico", "batched"])
def test_the_order_of_frames_changes_no_bit(name: str, request: pytest.FixtureRequest) -> None:
    backbone, frames = request.getfixturevalue(name), random_frames(6)
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    assert torch.equal(maps(backbone, frames[order])[0], maps(backbone, frames)[0][:, order])


@pytest.mark.exact
@pytest.mark.parametrize("name", ["pico", "batched"])
def test_what_else_is_in_the_batch_changes_no_bit(name: str, request: pytest.FixtureRequest) -> None:
    backbone, frames = request.getfixturevalue(name), random_frames(5)
    alone = maps(backbone, frames[:1])[0]
    others = maps(
        backbone, random_frames(3, 96, 32, seed=1), frames[1:], frames[:1], random_frames(1, seed=2)
    )
    assert torch.equal(others[2], alone)


def test_the_global_generator_has_no_say(pico: WanBackbone) -> None:
    frames = random_frames(1)
    first = maps(pico, frames)[0]
    torch.manual_seed(123)
    assert torch.equal(maps(pico, frames)[0], first)


def test_float_frames_give_what_their_uint8_gives(pico: WanBackbone) -> None:
    frames = random_frames(2)
    assert torch.equal(maps(pico, frames / 255.0)[0], maps(pico, frames)[0])


@pytest.mark.parametrize("change", [{"seed": 1}, {"noise": "shared"}, {"sigma": 0.31}, {"block": 2}])
def test_a_setting_changes_feature_and_fingerprint(change: dict[str, object], pico: WanBackbone) -> None:
    config = dataclasses.replace(PICO, **change)
    other = WanBackbone.from_pretrained(pico_path("wan"), config=config)
    frames = random_frames(1)
    assert not torch.equal(maps(other, frames)[0], maps(pico, frames)[0])
    assert other.fingerprint() != pico.fingerprint()


def test_the_micro_batch_is_part_of_the_fingerprint(pico: WanBackbone, batched: WanBackbone) -> None:
    assert pico.fingerprint() != batched.fingerprint()


def test_the_fingerprint_is_the_same_after_loading_again(pico: WanBackbone) -> None:
    assert WanBackbone.from_pretrained(pico_path("wan"), config=PICO).fingerprint() == pico.fingerprint()


def test_frames_share_a_draw_only_under_the_shared_policy(pico: WanBackbone) -> None:
    frames = random_frames(2)
    shape = (16, 1, 8, 8)
    assert not torch.equal(pico._noise(frames[0], shape), pico._noise(frames[1], shape))
    shared = WanBackbone.from_pretrained(pico_path("wan"), config=dataclasses.replace(PICO, noise="shared"))
    assert torch.equal(shared._noise(frames[0], shape), shared._noise(frames[1], shape))


THREADS = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
from safetensors.torch import save_file
from tests.backbones.conftest import PICO, random_frames
from vega3d import WanBackbone
from vega3d.pico import pico_path
maps = WanBackbone.from_pretrained(pico_path("wan"), config=PICO)([random_frames(2)])
save_file({"map": maps[0].features.contiguous()}, sys.argv[2])
"""


def test_the_number_of_threads_stays_within_the_stated_tolerance(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for threads in ("1", "2"):
        file = str(tmp_path / threads)
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", THREADS, threads, file], cwd=root, check=True)
    one, two = (load_file(tmp_path / threads)["map"] for threads in ("1", "2"))
    assert (one - two).abs().max() <= 1e-5 * one.abs().max()


def test_copies_share_the_backbone(pico: WanBackbone) -> None:
    assert copy.deepcopy({"it": pico})["it"] is pico


def test_nothing_in_it_can_be_trained(pico: WanBackbone) -> None:
    assert not any(p.requires_grad for module in (pico.dit, pico.vae) for p in module.parameters())


def test_only_the_blocks_that_are_run_are_kept(pico: WanBackbone) -> None:
    assert len(pico.dit.blocks) == PICO.block + 1


def test_bf16_stays_near_float32(pico: WanBackbone) -> None:
    half = WanBackbone.from_pretrained(pico_path("wan"), config=PICO, dtype=torch.bfloat16)
    frames = random_frames(1)
    exact, near = maps(pico, frames)[0], maps(half, frames)[0]
    assert half.dtype == torch.bfloat16
    assert 0 < (near - exact).norm() / exact.norm() < 0.05


@pytest.mark.exact
def test_another_backbone_with_a_named_attention_changes_no_bit(pico: WanBackbone) -> None:
    frames = random_frames(1)
    first = maps(pico, frames)[0]
    active = _AttentionBackendRegistry.get_active_backend()[0]
    try:  # diffusers makes the named one the default of the whole process
        named = dataclasses.replace(PICO, attention="_native_math")
        WanBackbone.from_pretrained(pico_path("wan"), config=named)
        assert torch.equal(maps(pico, frames)[0], first)
    finally:
        _AttentionBackendRegistry.set_active_backend(active)
