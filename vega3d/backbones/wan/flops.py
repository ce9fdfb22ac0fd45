"""What one picture costs in Wan, counted from shapes: two operations for each multiply-add.

Counts what this version runs: the VAE's 3-D encoder as written, one latent frame, and the DiT's blocks.
Norms, activations and rotary positions are left out (well below 1 %); so is the padding of a last
micro-batch.

This module knows no weights and no torch: it also serves estimates made from a config alone.
"""

from __future__ import annotations

from collections.abc import Sequence


def dit_flops(
    height: int,
    width: int,
    *,
    channels: int,
    feed_forward: int,
    blocks: int,
    latents: int = 16,
    text: int = 512,
) -> float:
    """One frame of height x width pixels through ``blocks`` blocks, without the condition."""
    tokens = (height // 16) * (width // 16)
    projections = (4 * tokens + 2 * tokens + 2 * text) * channels**2  # self q k v o; cross q o; cross k v
    attention = 2 * tokens * tokens * channels + 2 * tokens * text * channels
    mlp = 2 * tokens * channels * feed_forward
    patches = tokens * 4 * latents * channels
    return 2.0 * (blocks * (projections + attention + mlp) + patches)


def condition_flops(*, channels: int, text_dim: int, freq_dim: int = 256, text: int = 512) -> float:
    """Prompt and timestep, embedded once for a call."""
    prompt = text * (text_dim + channels) * channels
    timestep = (freq_dim + channels + 6 * channels) * channels
    return 2.0 * (prompt + timestep)


def vae_flops(
    height: int,
    width: int,
    *,
    base: int = 96,
    multiples: Sequence[int] = (1, 2, 4, 4),
    residuals: int = 2,
    z: int = 16,
) -> float:
    """The encoder on one frame of height x width pixels.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        base: channels after the first convolution.
        multiples: of ``base``, one a stage; every stage but the last halves the picture.
        residuals: residual blocks in a stage.
        z: channels of the latent.
    """
    area, last = height * width, base
    total = 27 * 3 * base * area
    for stage, multiple in enumerate(multiples):
        wide = base * multiple
        for _ in range(residuals):
            total += area * _residual(last, wide)
            last = wide
        if stage + 1 < len(multiples):
            area //= 4
            total += area * 9 * wide * wide  # its temporal convolution does not run on a single frame
    total += area * (2 * _residual(last, last) + 4 * last * last) + 2 * area * area * last  # middle
    return 2.0 * (total + area * (27 * last * 2 * z + (2 * z) ** 2))  # head, quantisation


def _residual(inside: int, outside: int) -> int:
    """Multiply-adds of a residual block at one position: two 3x3x3 convolutions, and a shortcut."""
    shortcut = inside * outside if inside != outside else 0
    return 27 * (inside + outside) * outside + shortcut
