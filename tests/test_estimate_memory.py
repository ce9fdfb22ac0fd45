"""The branch's peak memory by formula, against the peak of real runs: at most 10 % apart.

Narrow models, so that in one of them the VAE decides and in the other the DiT. Two videos in a micro-batch:
with one, torch's convolutions take another path on pictures as small as these. In bfloat16 a CPU's attention
over several frames holds all scores; so that is measured frame by frame.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel

import vega3d._utils.torchvision  # noqa: F401  (before diffusers)
from vega3d import WanBackbone, WanConfig
from vega3d.backbones.wan.config import MODES, Mode
from vega3d.backbones.wan.cost import branch_memory
from vega3d.backbones.wan.flops import Work
from vega3d.backbones.wan.shapes import DitShape, VaeShape
from vega3d.config import DType
from vega3d.costs.memory import peak_bytes

HEIGHT, WIDTH, FRAMES = 96, 128, 6
WIDE_VAE, WIDE_DIT = (32, 2), (2, 24)  # width of the VAE, heads of the DiT


def backbone(widths: tuple[int, int], config: WanConfig) -> WanBackbone:
    base, heads = widths
    shape: dict[str, Any] = {"attention_head_dim": 64, "num_layers": 3, "text_dim": 32}
    shape |= {"num_attention_heads": heads, "ffn_dim": int(5.8 * 64 * heads)}
    if config.mode.startswith("vace"):
        dit = WanVACETransformer3DModel(**shape, vace_layers=[0, 1])
    else:
        dit = WanTransformer3DModel(**shape)
    vae = AutoencoderKLWan(base_dim=base, decoder_base_dim=4)
    if config.dtype != "float32":
        dit = dit.to(getattr(torch, config.dtype))
    return WanBackbone(dit, vae, torch.randn(1, 32), config)


def moments(
    config: WanConfig, shapes: Any, size: tuple[int, int], frames: int, device: Any
) -> dict[str, int]:
    """By formula."""
    work = Work.of(config, config.frame_plan(range(frames)).runs)
    return branch_memory(config, *shapes, size, work, device)


def both(widths: tuple[int, int], config: WanConfig, count: int = FRAMES) -> tuple[int, dict[str, int]]:
    """Measured, and by formula."""
    wan = backbone(widths, config)
    frames = torch.zeros(count, 3, HEIGHT, WIDTH, dtype=torch.uint8)
    wan([frames])  # what is computed once for all clips
    shapes = (DitShape.from_diffusers(wan.dit.config), VaeShape.from_diffusers(wan.vae.config))
    return peak_bytes(lambda: wan([frames])), moments(config, shapes, (HEIGHT, WIDTH), count, "cpu")


def settings(mode: Mode, dtype: DType = "float32", **changes: Any) -> WanConfig:
    return WanConfig(block=1, pixels=HEIGHT * WIDTH, mode=mode, dtype=dtype, micro_batch=2, **changes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("widths", [WIDE_VAE, WIDE_DIT], ids=["the VAE decides", "the DiT decides"])
def test_the_peak_is_within_a_tenth_of_the_measured_one(widths: tuple[int, int], mode: Mode) -> None:
    measured, own = both(widths, settings(mode))
    assert max(own.values()) == pytest.approx(measured, rel=0.1)
    assert (own["vae"] > own["dit"]) == (widths == WIDE_VAE)


def test_the_peak_in_bfloat16_is_within_a_tenth_too() -> None:
    measured, own = both(WIDE_DIT, settings("frame", "bfloat16"))
    assert own["dit"] == max(own.values()) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_the_features_of_a_long_clip_are_counted_as_often_as_noise_samples_hold_them(samples: int) -> None:
    measured, own = both((2, 16), dataclasses.replace(settings("frame"), block=0, noise_samples=samples), 24)
    assert own["features"] == max(own.values()) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_micro_batch_is_the_backbones(mode: Mode, device: str) -> None:
    config = WanConfig(block=1, mode=mode)
    wan = backbone((4, 1), config)
    wan.__class__ = type("Elsewhere", (WanBackbone,), {"device": torch.device(device)})
    assert config.dit_batch(device) == wan.micro_batch


TRUE = (DitShape(12, 128, 8960, 30), VaeShape())


@pytest.mark.parametrize("mode", MODES)
def test_more_frames_never_need_less(mode: Mode) -> None:
    config = WanConfig(mode=mode)
    peaks = [max(moments(config, TRUE, (480, 832), frames, "cuda").values()) for frames in (1, 2, 8, 33, 200)]
    assert sorted(peaks) == peaks


def test_32_frames_of_the_small_wan_fit_in_8_gib_on_a_gpu() -> None:
    own = WanConfig("t2v-1.3b", dtype="bfloat16").cost((480, 832), 32)
    assert own.peak < 8 * 2**30
