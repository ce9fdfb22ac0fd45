"""Wan's transformer up to one block: diffusers' modules and weights, our loop around them.

The feature is the residual stream after a block, so the loop stops there; no hooks, no head. Timestep
and prompt are constants of a backbone and are embedded once, for a batch of one, whatever the batch.
The sinusoid is computed in float64 as Wan does it; diffusers' float32 is the larger part of its
difference from the original code.

This module knows neither pictures nor where weights come from.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEXT_LENGTH = 512  # slots that cross attention always sees; an empty slot is a zero, not masked


@dataclass(frozen=True)
class Condition:
    """What a timestep and a prompt become for every block.

    Attributes:
        text: (1, 512, C) keys and values of cross attention, before each block's own projections.
        modulation: (1, 6, C) shift, scale and gate of self attention and of the feed-forward.
    """

    text: Tensor
    modulation: Tensor


class Sinusoid(nn.Module):
    """Sinusoidal embedding of a timestep in float64: (N,) to (N, channels), cosines first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, timestep: Tensor) -> Tensor:
        """(N,) of any dtype to (N, channels), float64."""
        half = self.channels // 2
        exponent = torch.arange(half, dtype=torch.float64, device=timestep.device) / half
        angle = timestep.double()[:, None] * torch.pow(10000.0, -exponent)  # (N, half)
        return torch.cat([angle.cos(), angle.sin()], dim=1)


def embed_condition(dit: Any, prompt: Tensor, timestep: float) -> Condition:
    """Embed the prompt (m, text_dim) and the timestep, for all frames at once."""
    weight = dit.patch_embedding.weight
    padded = F.pad(prompt, (0, 0, 0, TEXT_LENGTH - len(prompt)))[None]  # (1, 512, text_dim)
    clock = torch.tensor([timestep], dtype=torch.float64, device=weight.device)
    _, modulation, text, _ = dit.condition_embedder(clock, padded.to(weight), None)
    return Condition(text, modulation.unflatten(1, (6, -1)))


def residual_stream(
    dit: Any, noisy: Tensor, condition: Condition, blocks: Collection[int]
) -> dict[int, Tensor]:
    """Run the blocks up to the last one asked for.

    Args:
        dit: diffusers' ``WanTransformer3DModel``, possibly with fewer blocks.
        noisy: (N, 16, T, h, w) noised latents.
        condition: from ``embed_condition``.
        blocks: zero-based.

    Returns:
        For each block (N, T * h/2 * w/2, C) in the model's dtype; tokens in raster order, time outermost.
    """
    rotary = dit.rope(noisy)
    patches = dit.patch_embedding(noisy.to(dit.patch_embedding.weight.dtype))  # (N, C, T, h/2, w/2)
    stream = patches.flatten(2).transpose(1, 2).contiguous()  # (N, L, C)
    text = condition.text.expand(len(stream), -1, -1)
    kept: dict[int, Tensor] = {}
    for index in range(max(blocks) + 1):
        stream = dit.blocks[index](stream, text, condition.modulation, rotary)
        if index in blocks:
            kept[index] = stream
    return kept
