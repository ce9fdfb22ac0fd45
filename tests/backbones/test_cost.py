"""FLOPs counted from shapes agree with torch's own counter and with the published sizes."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.backbones.conftest import random_frames
from vega3d import WanBackbone
from vega3d.backbones.wan.flops import dit_flops, vae_flops


def test_flops_agree_with_what_torch_counts(pico: WanBackbone) -> None:
    frames = random_frames(3, 64, 64)
    # torch counts no CPU attention but the plain one
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        pico([frames])
    assert pico.flops(64, 64, 3) == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize(("height", "width", "tera"), [(480, 832, 3.249), (720, 1280, 8.314)])
def test_the_true_transformer_costs_what_the_reference_counted(height: int, width: int, tera: float) -> None:
    counted = dit_flops(height, width, channels=1536, feed_forward=8960, blocks=21) / 1e12
    assert counted == pytest.approx(tera, rel=0.02)


@pytest.mark.parametrize(("height", "width", "tera"), [(480, 832, 2.718), (720, 1280, 6.453)])
def test_the_true_encoder_costs_what_the_reference_counted(height: int, width: int, tera: float) -> None:
    assert vae_flops(height, width) / 1e12 == pytest.approx(tera, rel=0.02)


def test_the_true_transformer_on_the_meta_device_costs_what_is_counted() -> None:
    with torch.device("meta"):
        model = WanTransformer3DModel(
            num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=1
        )
        rotary = model.rope(torch.zeros(1, 16, 1, 60, 104))
        stream, text = torch.zeros(1, 1560, 1536), torch.zeros(1, 512, 1536)
        with FlopCounterMode(display=False) as counter:
            model.blocks[0](stream, text, torch.zeros(1, 6, 1536), rotary)
    block = dit_flops(480, 832, channels=1536, feed_forward=8960, blocks=1)
    block -= dit_flops(480, 832, channels=1536, feed_forward=8960, blocks=0)
    assert block == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_true_encoder_on_the_meta_device_has_the_expected_latent() -> None:
    with torch.device("meta"):
        vae = AutoencoderKLWan()
        latent = vae.encode(torch.zeros(1, 3, 1, 480, 832)).latent_dist.mean
    assert latent.shape == (1, 16, 1, 60, 104)
