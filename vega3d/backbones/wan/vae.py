"""Clips to Wan's latents: the VAE's encoder, always float32, untiled, mean of the posterior.

Sampling the posterior would make features irreproducible, tiling changes the latent visibly, and bfloat16
changes it by 1 %. None of the three is offered. Only the encoder is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vega3d.backbones.wan.config import PATCH
from vega3d.errors import InputError


def require_pictures(pictures: Tensor) -> Tensor:
    """Check that pictures (N, 3, T, H, W) are at a tower size and lose no frame.

    Raises:
        InputError: a side is not a multiple of 16, or T is not 1, 5, 9, ...
    """
    frames, height, width = pictures.shape[2:]
    if height % PATCH or width % PATCH:
        raise InputError(
            f"Invalid picture of {width} x {height} pixels: it does not fit the tower.",
            got=f"{width} x {height} pixels",
            expected=f"width and height multiples of {PATCH}; the tower would silently cut the rest off",
            fix="resize it, or let the backbone do it: backbone.prepare(frame)",
        )
    if frames % 4 != 1:
        raise InputError(
            f"Invalid clip of {frames} frames: the VAE would silently drop the last ones.",
            got=f"{frames} frames",
            expected="1, 5, 9, ... frames (1 + 4k)",
            fix="repeat the last frame up to the next such length",
        )
    return pictures


def encode(vae: Any, pictures: Tensor) -> Tensor:
    """Encode pictures to the normalised posterior mean.

    Args:
        vae: diffusers' ``AutoencoderKLWan`` in float32.
        pictures: (N, 3, T, H, W), float32 in [0, 1].

    Returns:
        (N, 16, 1 + (T - 1) / 4, H / 8, W / 8), about unit variance in each channel.
    """
    mean: Tensor = vae.encode(pictures * 2.0 - 1.0, return_dict=False)[0].mode()
    shift, spread = (_channels(vae.config[name], mean) for name in ("latents_mean", "latents_std"))
    return (mean - shift) * (1.0 / spread)


def _channels(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1, 1)
