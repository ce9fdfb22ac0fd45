"""FLOPs counted from shapes agree with torch's own counter, and with what a study of the models counted."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.backbones.conftest import GOLDENS, PICO, VACE_MODES, random_frames
from vega3d import WanBackbone, WanConfig
from vega3d.backbones.wan.config import Mode
from vega3d.backbones.wan.flops import Work, encoder_flops, wan_flops
from vega3d.backbones.wan.shapes import DitShape, VaeShape
from vega3d.media.frame_plan import frame_plan
from vega3d.pico import pico_path

DIT = DitShape(12, 128, 8960, 30)
VACE = dataclasses.replace(DIT, vace_layers=tuple(range(0, 30, 2)))
VAE = VaeShape()
TEXT_MODES: tuple[Mode, ...] = ("frame", "window", "joint", "clip")

# TFLOP of the true 1.3B and its VAE, counted by torch on the meta device: height, width, mode, frames; VAE in
# 2-D for single frames, DiT of 21 blocks with cross attention in closed form, all of it
COUNTED = [
    (480, 832, "frame", 1, 0.988, 2.892, 3.880),
    (720, 1280, "frame", 1, 2.461, 7.621, 10.082),
    (480, 832, "clip", 33, 67.13, 48.63, 115.77),
    (272, 480, "frame", 1, 0.310, 0.876, 1.186),
]


def costs(
    config: WanConfig, dit: DitShape, vae: VaeShape, size: tuple[int, int], frames: int, tokens: int = 1
) -> dict[str, float]:
    """By part, with ``dit`` (all but the VAE and what serves all clips) and ``total``."""
    found = wan_flops(config, dit, vae, size, Work.of(config, config.frame_plan(range(frames)).runs), tokens)
    total = sum(found.values())
    return {**found, "dit": total - found["vae"] - found["condition"], "total": total}


def counted(run: Any) -> float:
    # torch counts no CPU attention but the plain one
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("row", COUNTED, ids=lambda row: f"{row[1]}x{row[0]}, {row[3]} frames")
def test_the_true_model_costs_what_was_counted(row: tuple[Any, ...]) -> None:
    height, width, mode, frames, *expected = row
    found = costs(WanConfig(mode=mode), DIT, VAE, (height, width), frames)
    assert [found[part] / 1e12 for part in ("vae", "dit", "total")] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("part", "share"), [("self_projections", 0.190), ("self_attention", 0.097), ("feed_forward", 0.555)]
)
def test_the_parts_of_the_true_model_have_their_counted_shares(part: str, share: float) -> None:
    found = costs(WanConfig(block=29), DIT, VAE, (480, 832), 1)
    whole = 4.642e12  # all 30 blocks, with 512 keys in cross attention
    assert found[part] / whole == pytest.approx(share, rel=0.02)


@pytest.mark.parametrize(
    ("mode", "height", "width", "tera"),
    [
        ("vace_no_reference", 480, 832, 5.5),
        ("vace_no_reference", 720, 1280, 14.3),
        ("vace_reference", 480, 832, 10.9),
        ("vace_reference", 720, 1280, 31.2),
    ],
)
def test_a_true_vace_costs_what_was_calculated(mode: Mode, height: int, width: int, tera: float) -> None:
    found = costs(WanConfig(mode=mode), VACE, VAE, (height, width), 1)
    assert found["total"] / 1e12 == pytest.approx(tera, rel=0.02)


@pytest.mark.parametrize("frames", [5, 9, 13])
def test_the_encoder_of_a_clip_costs_what_torch_counts(frames: int) -> None:
    with torch.device("meta"):
        vae, clip = AutoencoderKLWan(), torch.zeros(1, 3, frames, 64, 96)
    own = encoder_flops(VAE, 64, 96, frames)
    assert own == pytest.approx(counted(lambda: vae.encode(clip)), rel=0.02)


@pytest.mark.parametrize("latents", [1, 3])
@pytest.mark.parametrize("kind", [WanTransformer3DModel, WanVACETransformer3DModel])
def test_the_true_transformer_costs_what_torch_counts(kind: type, latents: int) -> None:
    changes = {"vace_layers": [0, 2]} if kind is WanVACETransformer3DModel else {}
    with torch.device("meta"):
        shape = {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960, "num_layers": 4}
        model = kind(**shape, **changes)
        given = {
            "hidden_states": torch.zeros(1, 16, latents, 60, 104),
            "timestep": torch.zeros(1),
            "encoder_hidden_states": torch.zeros(1, 512, 4096),
        }
        if changes:
            given["control_hidden_states"] = torch.zeros(1, 96, latents, 60, 104)
            given["control_hidden_states_scale"] = torch.zeros(2)
    mode: Mode = "vace_no_reference" if changes else "clip"
    frames = 1 if changes else 4 * latents - 3
    if changes and latents != 1:
        mode, frames, latents = "vace_reference", 1, 2
        given |= {name: given[name][:, :, :2] for name in ("hidden_states", "control_hidden_states")}
    config, dit = WanConfig(mode=mode, block=3), DitShape.from_diffusers(model.config)
    found = costs(config, dit, VAE, (480, 832), frames, tokens=512)  # a full prompt: no key stands for others
    assert found["dit"] + found["condition"] == pytest.approx(counted(lambda: model(**given)), rel=0.02)


def pico_flops(config: WanConfig, frames: int, tokens: int) -> float:
    dit, vae = (
        json.loads((pico_path("wan") / part / "config.json").read_text()) for part in ("transformer", "vae")
    )
    shapes = DitShape.from_diffusers(dit), VaeShape.from_diffusers(vae)
    return costs(config, *shapes, (64, 64), frames, tokens)["total"]


@pytest.mark.parametrize("mode", TEXT_MODES)
@pytest.mark.parametrize("tokens", [1, 3])
def test_the_backbone_costs_what_torch_counts(mode: Mode, tokens: int) -> None:
    config = dataclasses.replace(PICO, mode=mode, max_latent_frames=3, noise_samples=2)
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=config)
    wan = WanBackbone(wan.dit, wan.vae, wan.prompt_embeds[:1].expand(tokens, -1), wan.config)
    frames = random_frames(4, 64, 64)
    assert pico_flops(config, 4, tokens) == pytest.approx(counted(lambda: wan([frames])), rel=0.02)


@pytest.mark.parametrize("mode", VACE_MODES)
def test_a_vace_backbone_costs_what_torch_counts(
    vaces: dict[tuple[str, str], WanBackbone], mode: Mode
) -> None:
    wan, frames = vaces["diffusers", mode], random_frames(3, 64, 96)
    parts = ("transformer_vace", "vae")
    dit, vae = (json.loads((GOLDENS / "diffusers" / part / "config.json").read_text()) for part in parts)
    wan([frames])  # the blank picture is encoded once for a size
    found = costs(wan.config, DitShape.from_diffusers(dit), VaeShape.from_diffusers(vae), (64, 96), 3)
    assert found["total"] - found["condition"] == pytest.approx(counted(lambda: wan([frames])), rel=0.02)


@given(
    mode=st.sampled_from(TEXT_MODES + VACE_MODES),
    frames=st.integers(1, 200),
    length=st.integers(1, 30),
    window=st.sampled_from([5, 9]),
)
def test_the_counted_work_is_the_work_of_the_plan(mode: Mode, frames: int, length: int, window: int) -> None:
    config = WanConfig(mode=mode, max_latent_frames=length, window=window)
    runs = frame_plan(config, range(100, 100 + frames)).runs
    work = Work.of(config, runs)
    assert work.steps == (sum(work.forwards) if mode in ("joint", "clip") else frames)
    assert sum(work.encodes) == {
        "window": window * frames,
        "clip": sum(work.forwards) * 4 - 3 * len(runs),
    }.get(mode, frames)
    longest = {"clip": lambda run: 1 + -(-(len(run) - 1) // 4), "window": lambda run: 1 + (len(run) - 1) // 4}
    assert work.forwards == tuple(longest.get(mode, len)(run) for run in runs)


@given(mode=st.sampled_from(TEXT_MODES), frames=st.integers(1, 30), samples=st.integers(1, 8))
def test_noise_samples_multiply_the_transformer_and_nothing_else(
    mode: Mode, frames: int, samples: int
) -> None:
    one, many = (
        costs(WanConfig(mode=mode, noise_samples=n), DIT, VAE, (480, 832), frames) for n in (1, samples)
    )
    assert many["dit"] == pytest.approx(samples * one["dit"])
    assert (many["vae"], many["condition"]) == (one["vae"], one["condition"])


def test_the_true_encoder_on_the_meta_device_has_the_expected_latent() -> None:
    with torch.device("meta"):
        vae = AutoencoderKLWan()
        latent = vae.encode(torch.zeros(1, 3, 1, 480, 832)).latent_dist.mean
    assert latent.shape == (1, 16, 1, 60, 104)
