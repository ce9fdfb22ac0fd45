"""The same code at the true sizes, on the meta device: shapes, dtypes, parameters, bytes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel

from vega3d.backbones.wan import dit, vace
from vega3d.backbones.wan.encoder import PlaneEncoder

SIZES = {
    "1.3B": {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960, "num_layers": 21},
    "14B": {"num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824, "num_layers": 21},
}
CONTROL = {"1.3B": list(range(0, 21, 2)), "14B": [0, 5, 10, 15, 20]}
WIDTH = {"1.3B": 1536, "14B": 5120}


def bytes_of(module: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def run(
    model: Any, latents: torch.Tensor, control: torch.Tensor | None, residual: torch.dtype
) -> torch.Tensor:
    """Block 20 by our loop, with the closed form of the empty prompt."""
    condition = dit.embed_condition(model, torch.zeros(1, 4096), 300.0)
    main = [dit.block_constants(block, condition) for block in model.blocks]
    rotary = dit.positions(model, latents)
    stream = dit.embed_patches(model, latents, residual)
    hints = None
    if control is not None:
        own = [dit.block_constants(block, condition) for block in model.vace_blocks]
        hints = vace.hints(model, stream, control, own, rotary)
    return dit.residual_stream(model, stream, main, rotary, [20], hints)[20]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frames", [1, 21])
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_block_20_has_the_models_width_and_a_float32_stream(
    size: str, frames: int, dtype: torch.dtype
) -> None:
    with torch.device("meta"):
        model = WanTransformer3DModel(**SIZES[size]).to(dtype)
        features = run(model, torch.zeros(1, 16, frames, 60, 104), None, torch.float32)
    assert features.shape == (1, frames * 1560, WIDTH[size])
    assert features.dtype == torch.float32


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_a_vace_of_true_size_adds_its_hints(size: str, frames: int) -> None:
    with torch.device("meta"):
        model = WanVACETransformer3DModel(**SIZES[size], vace_layers=CONTROL[size])
        latents = torch.zeros(1, 16, frames, 60, 104)
        control = vace.control(latents, torch.zeros(1, 16, 1, 60, 104))
        features = run(model, latents, control, torch.float32)
    assert control.shape == (1, 96, frames, 60, 104)
    assert features.shape == (1, frames * 1560, WIDTH[size])


@pytest.mark.parametrize(("size", "gib"), [("1.3B", 1.86), ("14B", 14.2)])
def test_the_kept_blocks_take_the_expected_memory_in_bf16(size: str, gib: float) -> None:
    with torch.device("meta"):
        model = WanTransformer3DModel(**SIZES[size]).to(torch.bfloat16)
    assert bytes_of(model) / 2**30 == pytest.approx(gib, rel=0.03)


@torch.no_grad()
def test_the_plane_encoder_of_true_size_has_19_million_parameters() -> None:
    with torch.device("meta"):
        coder = AutoencoderKLWan()
        plane = PlaneEncoder(coder)
        latent = plane(torch.zeros(2, 3, 480, 832))
    assert latent.shape == (2, 16, 60, 104)
    assert sum(p.numel() for p in plane.parameters()) == pytest.approx(19.3e6, rel=0.01)
    assert sum(p.numel() for p in coder.encoder.parameters()) == pytest.approx(53.6e6, rel=0.01)
