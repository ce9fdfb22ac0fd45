"""Pictures and clips to Wan's latents: the VAE's encoder, always float32, untiled, mean of the posterior.

Sampling the posterior would make features irreproducible, tiling changes the latent visibly, and bfloat16
changes it by 1 %. None of the three is offered. Only the encoder is kept.

For a single frame it runs as 2-D convolutions: the same function with 2.75 times less work. A causal 3-D
convolution pads a one-frame video with zeros in front, so only the last temporal slice of its kernel is
applied to the frame. The temporal convolutions of the downsamplers are not called at all. The rest is a 2-D
network. Its head (last convolution, quantisation, mean half of the posterior, normalisation of the latent) is
linear and folds into one convolution. Everything runs channels-last, where a norm over channels reads memory
in order.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch

import vega3d._utils.torchvision  # noqa: F401  (before diffusers)

# isort: split
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanResample,
    WanResidualBlock,
)
from torch import Tensor, nn
from torch.nn import functional as F

from vega3d.backbones.wan.config import PATCH
from vega3d.errors import InputError

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
TINY = 1e-30  # under the root of a norm: a position that is zero in every channel stays zero


def require_pictures(pictures: Tensor) -> None:
    """Check that pictures (N, 3, T, H, W) are at a tower size and lose no frame.

    Raises:
        InputError: a side is not a multiple of 16, or T is not 1, 5, 9, ...
    """
    frames, height, width = pictures.shape[2:]
    if height % PATCH or width % PATCH:
        size, fix = f"{width} x {height} pixels", "resize it, for example by backbone.prepare(frame)"
        expected = f"width and height multiples of {PATCH}; the tower would silently cut the rest off"
        raise InputError(f"Invalid picture of {size}.", got=size, expected=expected, fix=fix)
    if frames % 4 != 1:
        title = f"Invalid clip of {frames} frames: the VAE would silently drop the last ones."
        fix = "repeat the last frame up to the next such length"
        raise InputError(title, got=frames, expected="1, 5, 9, ... frames (1 + 4k)", fix=fix)


def encode(vae: Any, pictures: Tensor) -> Tensor:
    """Encode pictures to the normalised posterior mean.

    Args:
        vae: diffusers' ``AutoencoderKLWan`` in float32.
        pictures: (N, 3, T, H, W), float32 in [0, 1].

    Returns:
        (N, 16, 1 + (T - 1) / 4, H / 8, W / 8), about unit variance in each channel.
    """
    mean: Tensor = vae.encode(pictures * 2.0 - 1.0, return_dict=False)[0].mode()
    shift, spread = (values.view(1, -1, 1, 1, 1) for values in _scale(vae, mean))
    return (mean - shift) * (1.0 / spread)


class PlaneEncoder(nn.Module):
    """One-frame encoder of diffusers' ``AutoencoderKLWan``, with weights of its own (76 MB for Wan2.1).

    Args:
        vae: in float32; it is not changed.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        encoder = vae.encoder
        (first, last), (attention,) = encoder.mid_block.resnets, encoder.mid_block.attentions
        stages = [_layer(layer) for layer in (*encoder.down_blocks, first, attention, last)]
        self.layers = nn.Sequential(_convolution(encoder.conv_in), *stages, _Norm(encoder.norm_out))
        self.head = _head(vae)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] to the normalised latent (N, 16, H/8, W/8), contiguous."""
        inside = self.layers(pictures.contiguous(memory_format=torch.channels_last))
        latent: Tensor = self.head(F.silu(inside, inplace=True))
        return latent.contiguous()


class _Norm(nn.Module):
    """RMS norm over channels."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.gamma.detach().flatten().clone())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)  # (N, H, W, C), contiguous under channels-last
        return F.rms_norm(rows, (rows.shape[-1],), self.weight, TINY).permute(0, 3, 1, 2)


class _Residual(nn.Module):
    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.conv1 = _Norm(block.norm1), _convolution(block.conv1)
        self.norm2, self.conv2 = _Norm(block.norm2), _convolution(block.conv2)
        shortcut = block.conv_shortcut
        self.shortcut = shortcut if isinstance(shortcut, nn.Identity) else _convolution(shortcut)

    def forward(self, x: Tensor) -> Tensor:
        inside = self.conv1(F.silu(self.norm1(x), inplace=True))
        inside = self.conv2(F.silu(self.norm2(inside), inplace=True))
        output: Tensor = inside.add_(self.shortcut(x))
        return output


class _Attention(nn.Module):
    """Single-head attention over all positions of a frame."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm = _Norm(block.norm)
        self.qkv, self.out = _linear(block.to_qkv), _linear(block.proj)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)  # (N, h * w, C)
        query, key, value = self.qkv(rows)[:, None].chunk(3, dim=-1)  # (N, 1, h * w, C) each
        attended = F.scaled_dot_product_attention(query, key, value)[:, 0]
        output: Tensor = self.out(attended).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return x + output


class _Halve(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.convolution = copy.deepcopy(layer.resample[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.pad(x, (0, 1, 0, 1)))  # type: ignore[no-any-return]


def _layer(layer: Any) -> nn.Module:
    kinds = {WanResidualBlock: _Residual, WanAttentionBlock: _Attention, WanResample: _Halve}
    return kinds[type(layer)](layer)


def _convolution(causal: Any) -> nn.Conv2d:
    """The 2-D convolution that equals a causal 3-D one for a single frame."""
    plane = nn.Conv2d(
        causal.in_channels, causal.out_channels, causal.kernel_size[1:], padding=causal._padding[2]
    )
    return _fill(plane, causal.weight[:, :, -1], causal.bias)


def _linear(convolution: Any) -> nn.Linear:
    """A 1 x 1 convolution as a linear layer."""
    linear = nn.Linear(convolution.in_channels, convolution.out_channels)
    return _fill(linear, convolution.weight[:, :, 0, 0], convolution.bias)


def _head(vae: Any) -> nn.Conv2d:
    """Last convolution, quantisation, mean half and normalisation as one convolution, folded in float64."""
    last, quantise = _convolution(vae.encoder.conv_out), vae.quant_conv
    mean = quantise.weight.shape[0] // 2
    shift, spread = _scale(vae, last.weight.double())
    mix = quantise.weight[:mean, :, -1, 0, 0].double() / spread[:, None]  # (16, 32)
    weight = torch.einsum("om,mihw->oihw", mix, last.weight.double())
    assert last.bias is not None
    bias = mix @ last.bias.double() + (quantise.bias[:mean].double() - shift) / spread
    folded = nn.Conv2d(last.in_channels, mean, last.kernel_size, padding=last.padding)  # type: ignore[arg-type]
    return _fill(folded, weight.float(), bias.float())


def _fill(layer: Layer, weight: Tensor, bias: Tensor) -> Layer:
    copies = {"weight": weight.detach().clone().contiguous(), "bias": bias.detach().clone()}
    layer.load_state_dict(copies, assign=True)
    return layer


def _scale(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of the latents."""
    return like.new_tensor(vae.config["latents_mean"]), like.new_tensor(vae.config["latents_std"])
