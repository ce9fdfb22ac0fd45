"""The branch computes what plain diffusers computes, with less work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backbones import plain
from tests.backbones.conftest import GOLDEN, LAYOUTS, VACE_MODES, random_frames
from vega3d import WanBackbone
from vega3d.backbones.frames import add_noise, schedule
from vega3d.backbones.wan import dit, vace
from vega3d.backbones.wan.encoder import PlaneEncoder, encode_videos

HIDDEN, LATENT = 3e-4, 2e-5
Make = Callable[..., WanBackbone]


@pytest.fixture(scope="module")
def make(folders: dict[str, Path], vace_folders: dict[str, Path], golden: dict[str, torch.Tensor]) -> Make:
    """The golden Wan or VACE; loaded once each."""
    known: dict[Any, WanBackbone] = {}

    def load(mode: str = "frame", tokens: int = 1) -> WanBackbone:
        key = (mode, tokens)
        if key not in known:
            folder = (vace_folders if mode in VACE_MODES else folders)["diffusers"]
            config = dataclasses.replace(GOLDEN, mode=mode)  # type: ignore[arg-type]
            prompt = torch.randn(tokens, 32, generator=torch.Generator().manual_seed(1))
            prompt = golden["prompt"] if tokens == 1 else prompt
            known[key] = WanBackbone.from_pretrained(folder, config=config, prompt_embeds=prompt)
        return known[key]

    return load


def stock(folder: Path, kind: Any) -> Any:
    return kind.from_pretrained(folder / "transformer").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def text_to_video(folders: dict[str, Path]) -> Any:
    return stock(folders["diffusers"], WanTransformer3DModel)


@pytest.fixture(scope="module")
def stock_vace(vace_folders: dict[str, Path]) -> Any:
    return stock(vace_folders["diffusers"], WanVACETransformer3DModel)


@settings(deadline=None, max_examples=12)
@given(
    count=st.integers(1, 3),
    frames=st.integers(1, 4),
    height=st.integers(1, 5),
    width=st.integers(1, 7),
    tokens=st.sampled_from([1, 3, 512]),
    sigma=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)
def test_hidden_states_are_those_of_plain_diffusers(
    make: Make, text_to_video: Any, tokens: int, sigma: float, **shape: int
) -> None:
    wan = make(tokens=tokens)
    latents, noise = _latents(**shape), _latents(**shape, seed=1)
    expected = plain.hidden_states(
        text_to_video, add_noise(latents, noise, sigma), 1000 * sigma, wan.prompt_embeds
    )
    found = wan.hidden_states(latents, sigma=sigma, noise=noise, blocks=range(5))
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert all((found[block] - expected[block]).abs().max() < HIDDEN for block in found)


@pytest.mark.parametrize("mode", VACE_MODES)
@settings(deadline=None, max_examples=6)
@given(
    count=st.integers(1, 3), height=st.integers(1, 4), width=st.integers(1, 5), tokens=st.sampled_from([1, 4])
)
def test_hidden_states_of_a_vace_are_those_of_plain_diffusers(
    mode: str, make: Make, stock_vace: Any, tokens: int, **shape: int
) -> None:
    wan = make(mode, tokens)
    latents, noise = (_latents(frames=1 + (mode == "vace_reference"), seed=seed, **shape) for seed in (0, 1))
    blank = encode_videos(wan.vae, torch.full((1, 3, 1, latents.shape[3] * 8, latents.shape[4] * 8), 0.5))
    control = vace.control(latents, blank)
    noisy = add_noise(latents, noise, 0.3)
    expected = plain.hidden_states(stock_vace, noisy, 300.0, wan.prompt_embeds, control_hidden_states=control)
    found = wan.hidden_states(latents, sigma=0.3, noise=noise, blocks=range(5))
    assert all((found[block] - expected[block]).abs().max() < HIDDEN for block in found)


def _latents(count: int, frames: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    shape = (count, 16, frames, 2 * height, 2 * width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", ["frame", "window", "joint", "clip", *VACE_MODES])
def test_the_whole_branch_is_that_of_plain_diffusers(mode: str, make: Make) -> None:
    frames, wan = random_frames(6), make(mode)
    fast, slow = wan(frames)[0], plain.PlainWan.of(wan)(frames)[0]
    assert fast.frames == slow.frames
    assert not torch.equal(fast.features, slow.features)  # two ways, not one
    assert (fast.features - slow.features).abs().max() < HIDDEN


@pytest.fixture(scope="module")
def encoders(wans: dict[str, WanBackbone], pico: WanBackbone) -> dict[str, Any]:
    torch.manual_seed(0)
    other = AutoencoderKLWan(
        base_dim=8, dim_mult=[1, 2, 2], temperal_downsample=[True, False], num_res_blocks=1
    )
    for parameter in other.encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return {
        "golden": wans["diffusers"].vae,
        "pico": pico.vae,
        "other shape": other.eval().requires_grad_(False),
    }


@pytest.mark.parametrize("name", ["golden", "pico", "other shape"])
@settings(deadline=None, max_examples=12)
@given(count=st.integers(1, 3), rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 9))
def test_the_plane_encoder_is_the_vae_on_one_frame(
    name: str, encoders: dict[str, Any], count: int, rows: int, columns: int, seed: int
) -> None:
    coder = encoders[name]
    make = torch.Generator().manual_seed(seed)
    pictures = torch.rand(count, 3, 16 * rows, 16 * columns, generator=make)
    with torch.no_grad():
        expected = encode_videos(coder, pictures.unsqueeze(2))[:, :, 0]
        found = PlaneEncoder(coder)(pictures * 2 - 1)
    assert found.is_contiguous()
    assert (found - expected).abs().max() < LATENT * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_the_plane_encoder_survives_a_flat_picture(level: float, encoders: dict[str, Any]) -> None:
    flat = torch.full((1, 3, 32, 48), level)
    with torch.no_grad():
        expected = encode_videos(encoders["golden"], flat.unsqueeze(2))[:, :, 0]
        assert (PlaneEncoder(encoders["golden"])(flat * 2 - 1) - expected).abs().max() < LATENT


def test_a_position_that_is_zero_in_every_channel_stays_zero(encoders: dict[str, Any]) -> None:
    norm = PlaneEncoder(encoders["golden"]).layers[-1]
    assert torch.equal(norm(torch.zeros(1, len(norm.weight), 2, 2)), torch.zeros(1, len(norm.weight), 2, 2))


def test_the_temporal_convolutions_do_not_run_on_one_frame(encoders: dict[str, Any]) -> None:
    names = [name for name, _ in PlaneEncoder(encoders["golden"]).named_modules()]
    assert not any("time" in name for name in names)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_the_blocks_that_run_are_kept(layout: str, folders: dict[str, Path]) -> None:
    config = dataclasses.replace(GOLDEN, block=2)
    wan = WanBackbone.from_pretrained(folders[layout], config=config, prompt_embeds=torch.zeros(1, 32))
    assert len(wan.dit.blocks) == 3


def test_one_token_of_padding_stands_for_all(make: Make) -> None:
    wan = make()
    once = dit.embed_condition(wan.dit, wan.prompt_embeds, 300.0)
    assert (once.text.shape[0], once.pads) == (2, 511)
    padded = torch.nn.functional.pad(wan.prompt_embeds, (0, 0, 0, 511))
    every = wan.dit.condition_embedder.text_embedder(padded)
    assert torch.allclose(every[1:], once.text[1:].expand(511, -1), atol=1e-6)


def test_constants_are_computed_once_for_a_timestep(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []
    original = dit.embed_condition

    def count(*arguments: Any) -> dit.Condition:
        calls.append(arguments[2])
        return original(*arguments)

    monkeypatch.setattr(dit, "embed_condition", count)
    wan = make()
    wan._forget()
    for sigma in (0.25, 0.25, 0.5):
        wan.hidden_states(_latents(2, 1, 2, 2), sigma=sigma)
    assert calls == [250.0, 500.0]


def test_a_vace_encodes_each_frame_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    wan, seen = make("vace_reference"), []
    original = wan._encode_pictures
    monkeypatch.setattr(
        wan, "_encode_pictures", lambda pictures: (seen.append(len(pictures)), original(pictures))[1]
    )
    wan._forget()
    wan(random_frames(4))
    assert sum(seen) == 4 + 1  # and the blank picture


def test_a_moved_backbone_forgets_what_it_computed_elsewhere(make: Make) -> None:
    wan = make()
    wan.hidden_states(_latents(1, 1, 2, 2))
    wan.to("cpu")
    assert wan._kept is None
    assert not wan._rotary


def test_only_some_grids_are_remembered(make: Make) -> None:
    wan = make()
    for width in range(1, 50):
        wan.hidden_states(_latents(1, 1, 1, width), blocks=[0])
    assert 0 < len(wan._rotary) <= 32


def test_under_bf16_a_float32_residual_stream_is_nearer_to_float32(
    folders: dict[str, Path], golden: dict[str, torch.Tensor]
) -> None:
    errors = {}
    for residual in ("float32", "model"):
        config = dataclasses.replace(GOLDEN, dtype="bfloat16", residual_dtype=residual)  # type: ignore[arg-type]
        wan = WanBackbone.from_pretrained(folders["diffusers"], config=config, prompt_embeds=golden["prompt"])
        states = wan.hidden_states(golden["t2v_latent"], noise=golden["noise"])[4]
        assert states.dtype == (torch.float32 if residual == "float32" else torch.bfloat16)
        expected = golden["t2v_hidden_4"]
        errors[residual] = ((states.float() - expected).norm() / expected.norm()).item()
    assert errors["float32"] < errors["model"] < 0.02


def test_the_released_schedule_is_told_to_the_model(make: Make) -> None:
    wan = make()
    assert wan.config.schedule == "released"
    wan._forget()
    wan.hidden_states(_latents(1, 1, 1, 1))
    assert wan._kept is not None
    assert wan._kept.timestep == schedule(0.3, "released")[0] == 299
