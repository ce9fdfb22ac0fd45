"""The same mathematics, faster on a CPU: replaced forwards for *training only*.

Decision: instances of the model are changed in the training process, never the saved model: the patch
convolution as the matrix product that it is, vision attention over equal lengths as one batch instead of a
loop, questions attending to the prefix and two chunks of 72 tokens instead of to everything, and blocks
compiled. tests/rooms/test_pico_training.py holds the result against the stock model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    apply_rotary_pos_emb,
    apply_rotary_pos_emb_vision,
)

from train.pico.pack import Packed

CHUNK = 72


def speed_up(model: Any, compiled: bool = True) -> None:
    """Replace the slow forwards of this model's instances."""
    visual = model.model.visual
    visual.patch_embed.forward = lambda x: nn.functional.linear(
        x.view(-1, visual.patch_embed.proj.weight[0].numel()), visual.patch_embed.proj.weight.flatten(1)
    )
    for block in visual.blocks:
        block.forward = _block_forward(block, compiled)
    model.pico_chunks = chunk_mask
    for layer in model.model.language_model.layers:
        layer.self_attn.forward = _attention_forward(layer.self_attn)
        if compiled:
            layer.forward = torch.compile(layer.forward, dynamic=False)


def chunk_mask(batch: Packed) -> tuple[int, Tensor]:
    """Prefix length P and mask (B * n, 1, 72, P + 144) of n chunks over prefix, chunk before, own chunk."""
    b, p = batch.prefix.shape
    segment = torch.where(batch.segment == 0, -1, batch.segment).view(b, -1, CHUNK)  # (B, n, 72)
    if batch.longest > CHUNK + 1:
        raise ValueError(f"A question of {batch.longest} tokens does not fit chunks of {CHUNK}.")
    before = torch.cat([torch.full_like(segment[:, :1], -2), segment[:, :-1]], dim=1)
    keys = torch.cat([before, segment], dim=2)  # (B, n, 144)
    own = keys[:, :, None, :] == segment[..., None]  # (B, n, 72, 144)
    own &= torch.ones(CHUNK, 2 * CHUNK, dtype=torch.bool).tril(CHUNK)
    seen = torch.cat([own.new_ones(*own.shape[:3], p), own], dim=3)
    return p, seen.flatten(0, 1)[:, None]


def _attention_forward(attention: Any) -> Any:
    """Text self-attention for packed batches: the prefix in itself, then every chunk."""

    def forward(
        hidden_states: Tensor,
        attention_mask: tuple[int, Tensor],
        position_embeddings: tuple[Tensor, Tensor],
        **_: Any,
    ) -> tuple[Tensor, None]:
        p, mask = attention_mask
        b, length, _width = hidden_states.shape
        q, k, v = (
            f(hidden_states).view(b, length, -1, attention.head_dim).transpose(1, 2)
            for f in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = apply_rotary_pos_emb(q, k, *position_embeddings)
        k, v = (t.repeat_interleave(attention.num_key_value_groups, dim=1) for t in (k, v))
        causal = torch.ones(p, p, dtype=torch.bool).tril()
        first = attend(q[:, :, :p], k[:, :, :p], v[:, :, :p], causal)  # (B, heads, P, d)
        rows = q[:, :, p:].unflatten(2, (-1, CHUNK)).transpose(1, 2).flatten(0, 1)  # (B * n, heads, 72, d)
        rest = attend(rows, _keys(k, p), _keys(v, p), mask)
        rest = rest.unflatten(0, (b, -1)).transpose(1, 2).flatten(2, 3)  # (B, heads, L, d)
        out = torch.cat([first, rest], dim=2).transpose(1, 2).reshape(b, length, -1)
        return attention.o_proj(out), None

    return forward


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention written out: for many short runs its backward is far faster than the fused one's."""
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    return scores.softmax(-1).to(v.dtype) @ v


def _keys(t: Tensor, p: int) -> Tensor:
    """Keys or values (B, heads, P + L, d) -> (B * n, heads, P + 144, d): prefix, chunk before, own chunk."""
    chunks = t[:, :, p:].unflatten(2, (-1, CHUNK))  # (B, heads, n, 72, d)
    before = torch.cat([torch.zeros_like(chunks[:, :, :1]), chunks[:, :, :-1]], dim=2)
    prefix = t[:, :, None, :p].expand(-1, -1, chunks.shape[2], -1, -1)
    return torch.cat([prefix, before, chunks], dim=3).transpose(1, 2).flatten(0, 1)


def _block_forward(block: Any, compiled: bool) -> Any:
    """A vision block over runs of attention, batched where all runs have one length."""
    attention = block.attn

    def inner(x: Tensor, cos: Tensor, sin: Tensor, runs: int) -> Tensor:
        h = block.norm1(x)
        qkv = attention.qkv(h).reshape(len(x), 3, attention.num_heads, -1)
        q, k = apply_rotary_pos_emb_vision(qkv[:, 0], qkv[:, 1], cos, sin)
        q, k, v = (t.unflatten(0, (runs, -1)).transpose(1, 2) for t in (q, k, qkv[:, 2]))
        out = attend(q, k, v).transpose(1, 2).reshape(len(x), -1)
        x = x + attention.proj(out)
        return x + block.mlp(block.norm2(x))

    run = torch.compile(inner, dynamic=False) if compiled else inner
    stock = block.forward

    def forward(
        hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: tuple[Tensor, Tensor], **kwargs: Any
    ) -> Tensor:
        lengths = cu_seqlens.diff()
        if (lengths != lengths[0]).any():
            return stock(
                hidden_states, cu_seqlens=cu_seqlens, position_embeddings=position_embeddings, **kwargs
            )
        return run(hidden_states, *position_embeddings, len(lengths))

    return forward
