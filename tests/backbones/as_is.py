"""The released form of VACE with a reference, for comparison only.

A latent of one frame meets a control of two; the sequence is filled up with zeros. The zeros are queries
without positions and never keys, and it is their tokens that the released code keeps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vega3d import WanBackbone
from vega3d.backbones.frames import add_noise, schedule
from vega3d.backbones.wan import dit, vace


class FirstHalfIsKey:
    """Attention of diffusers' ``WanAttention`` whose keys and positions end after the first half."""

    _attention_backend = None

    def __call__(self, attn: Any, x: Tensor, text: Tensor | None, mask: None, rotary: Any) -> Tensor:
        half = x.shape[1] // 2
        query, key = attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(x))
        value = attn.to_v(x).unflatten(2, (attn.heads, -1))[:, :half]
        query, key = (one.unflatten(2, (attn.heads, -1)) for one in (query, key))
        turned = torch.cat([self.turn(query[:, :half], rotary), query[:, half:]], dim=1)
        key = self.turn(key[:, :half], rotary)
        seen = F.scaled_dot_product_attention(*(one.transpose(1, 2) for one in (turned, key, value)))
        return attn.to_out[0](seen.transpose(1, 2).flatten(2))

    @staticmethod
    def turn(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        cosine, sine = rotary[0][..., 0::2], rotary[1][..., 1::2]
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2)


def as_is(backbone: WanBackbone, golden: dict[str, Tensor]) -> dict[int, Tensor]:
    """Both halves of the residual stream, {block: (N, 2 L, C)}, by diffusers' own blocks."""
    model, latents = backbone.dit, golden["t2v_latent"]
    timestep, sigma = schedule(0.3, "released")
    noisy = add_noise(latents, golden["noise"], sigma)
    both = torch.cat([latents[:1].expand_as(latents), latents], dim=2)
    control = vace.control(both, backbone._blank_latent(latents))
    blocks = [*model.blocks, *model.vace_blocks]
    own = [block.attn1.processor for block in blocks]
    try:
        for block in blocks:
            block.attn1.processor = FirstHalfIsKey()
        return _run(model, noisy, control, dit.embed_condition(model, backbone.prompt_embeds, timestep))
    finally:
        for block, processor in zip(blocks, own, strict=True):
            block.attn1.processor = processor


@torch.no_grad()
def _run(model: Any, noisy: Tensor, control: Tensor, condition: dit.Condition) -> dict[int, Tensor]:
    rotary = model.rope(noisy)
    pads = condition.text[-1:].expand(condition.pads, -1)
    text = torch.cat([condition.text[:-1], pads])[None].expand(len(noisy), -1, -1)  # all 512 slots
    modulation = condition.modulation[None]
    stream = dit.embed_patches(model, noisy, torch.float32)
    stream = torch.cat([stream, torch.zeros_like(stream)], dim=1)
    side = model.vace_patch_embedding(control).flatten(2).transpose(1, 2)
    hints = {}
    for layer, block in zip(model.config.vace_layers, model.vace_blocks, strict=True):
        hints[layer], side = block(stream, text, side, modulation, rotary)
    kept = {}
    for number, block in enumerate(model.blocks):
        stream = block(stream, text, modulation, rotary)
        stream = kept[number] = stream + hints.get(number, 0.0)
    return {number: kept[number] for number in (0, 2, 4)}
