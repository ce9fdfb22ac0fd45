"""Wan's transformer up to one block: diffusers' modules and weights, our loop around them.

The feature is the residual stream after a block, so the loop stops there, without hooks or a head. Timestep,
prompt and grid do not change from frame to frame. Modulation, text keys and values, and rotary positions
depend on them alone and are computed once (``docs/branch.md`` shows why each is exact). The sinusoid of the
timestep is computed in float64, as in Wan. Diffusers' float32 is the larger part of its difference from the
original code.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import vega3d._utils.torchvision  # noqa: F401  (before diffusers)

# isort: split
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.utils.constants import DIFFUSERS_ATTN_BACKEND
from torch import Tensor
from torch.nn import functional as F

PART = 520  # tokens: at true width 18 MB, which the allocator keeps; more is mapped and cleared each time
TEXT_LENGTH = 512  # slots that cross attention always sees; an empty slot is a zero, not masked


@dataclass(frozen=True)
class Condition:
    """Embedded timestep and prompt, shared by all blocks.

    Attributes:
        text: (n, C) embedded prompt; its last row stands for ``pads`` identical ones.
        pads: number of the 512 slots that the last row stands for.
        modulation: (6, C) shift, scale and gate of self attention, then of the feed-forward; float32.
    """

    text: Tensor
    pads: int
    modulation: Tensor


@dataclass(frozen=True)
class Keys:
    """Cross attention over a text's keys.

    Attributes:
        key: (1, n, heads, d).
        value: (1, n, heads, d).
        bias: (n,) added to the scores, the log of the number of slots a key stands for; None if all are 1.
    """

    key: Tensor
    value: Tensor
    bias: Tensor | None

    def __call__(self, attention: Any, x: Tensor) -> Tensor:
        """(N, L, C) to (N, L, C)."""
        query = attention.norm_q(attention.to_q(x)).unflatten(2, (attention.heads, -1))
        size = (len(x), -1, -1, -1)
        key, value = self.key.expand(size), self.value.expand(size)
        attended = _attend(attention, query, key, value, self.bias)
        return attention.to_out[0](attended.flatten(2).type_as(x))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class OneToken:
    """Cross attention over one token and padding, in closed form.

    With two distinct keys the softmax is a sigmoid of the difference of their scores, and the output is
    affine in it. So neither keys, nor values, nor the output projection are needed for a picture.

    Attributes:
        direction: (heads, d) key of the token minus key of the padding, over the square root of d.
        offset: log of the number of pads.
        base: (C,) output if all weight lies on the padding.
        towards: (heads, C) change of the output by full weight of one head on the token.
    """

    direction: Tensor
    offset: float
    base: Tensor
    towards: Tensor

    def __call__(self, attention: Any, x: Tensor) -> Tensor:
        """(N, L, C) to (N, L, C)."""
        query = attention.norm_q(attention.to_q(x)).unflatten(2, (attention.heads, -1)).float()
        score = torch.einsum("nlhd,hd->nlh", query, self.direction)
        # torch.sigmoid rounds a tensor's last few numbers differently: a feature would depend on its index
        weight = 1.0 / (1.0 + torch.exp(self.offset - score))
        return (self.base + weight @ self.towards).type_as(x)


@dataclass(frozen=True)
class BlockConstants:
    """Constants of one block.

    Attributes:
        modulation: (6, C) float32, with the block's own table added and 1 added to both scales.
        cross: cross attention of the block.
    """

    modulation: Tensor
    cross: Keys | OneToken


def sinusoid(timestep: float, channels: int) -> Tensor:
    """Sinusoidal embedding of a timestep: (1, channels) float64, cosines first."""
    exponent = torch.arange(channels // 2, dtype=torch.float64) / (channels // 2)
    angle = timestep * torch.pow(10000.0, -exponent)[None]
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def embed_condition(dit: Any, prompt: Tensor, timestep: float) -> Condition:
    """Embed the prompt (m, text_dim) and the timestep, for all frames at once.

    An empty slot is a zero vector before the text's MLP, so all empty slots become one constant vector. It is
    stored once.
    """
    slots = min(len(prompt) + 1, TEXT_LENGTH)
    padded = F.pad(prompt, (0, 0, 0, slots - len(prompt)))  # (slots, text_dim)
    embedder = dit.condition_embedder
    text = embedder.text_embedder(padded.to(embedder.text_embedder.linear_1.weight))
    first, last = embedder.time_embedder.linear_1.weight, embedder.time_proj
    clock = embedder.time_embedder(sinusoid(timestep, first.shape[1]).to(first)).float()  # (1, C)
    # in float32 whatever the model's dtype is, as Wan does it: six vectors for all tokens of all frames
    modulation = F.linear(embedder.act_fn(clock), last.weight.float(), last.bias.float())  # (1, 6 C)
    return Condition(text, TEXT_LENGTH - slots + 1, modulation.reshape(6, -1))


def block_constants(block: Any, condition: Condition) -> BlockConstants:
    """Compute modulation and cross attention of one block, in closed form for a prompt of one token."""
    modulation = block.scale_shift_table[0].float() + condition.modulation
    modulation[[1, 4]] += 1.0
    attention, text = block.attn2, condition.text[None]
    key = attention.norm_k(attention.to_k(text)).unflatten(2, (attention.heads, -1))  # (1, n, heads, d)
    value = attention.to_v(text).unflatten(2, (attention.heads, -1))
    if len(condition.text) == 2 and condition.pads == TEXT_LENGTH - 1:
        return BlockConstants(modulation, _one_token(attention, key[0].float(), value[0].float()))
    bias = None
    if condition.pads > 1:
        bias = torch.zeros(len(condition.text), dtype=key.dtype, device=key.device)
        bias[-1] = math.log(condition.pads)
    return BlockConstants(modulation, Keys(key, value, bias))


def _one_token(attention: Any, key: Tensor, value: Tensor) -> OneToken:
    out = attention.to_out[0]
    mix = out.weight.float().unflatten(1, (attention.heads, -1))  # (C, heads, d)
    base = torch.einsum("chd,hd->c", mix, value[1]) + out.bias.float()
    towards = torch.einsum("chd,hd->hc", mix, value[0] - value[1])
    direction = (key[0] - key[1]) / math.sqrt(key.shape[-1])
    return OneToken(direction, math.log(TEXT_LENGTH - 1), base, towards)


def positions(dit: Any, latents: Tensor) -> Tensor:
    """Rotary positions of a latent's tokens as complex numbers of modulus 1: (1, L, 1, d / 2)."""
    cosine, sine = dit.rope(latents)  # (1, L, 1, d) each; pairs of channels share an angle
    return torch.complex(cosine[..., 0::2].float().contiguous(), sine[..., 1::2].float().contiguous())


def embed_patches(dit: Any, latents: Tensor, residual: torch.dtype) -> Tensor:
    """Embed latents (N, 16, T, h, w) to tokens (N, T * h/2 * w/2, C) in raster order, time outermost."""
    patches = dit.patch_embedding(latents.to(dit.patch_embedding.weight.dtype))  # (N, C, T, h/2, w/2)
    return patches.flatten(2).transpose(1, 2).to(residual).contiguous()  # type: ignore[no-any-return]


def residual_stream(
    dit: Any,
    stream: Tensor,
    constants: Sequence[BlockConstants],
    rotary: Tensor,
    blocks: Collection[int],
    hints: Mapping[int, Tensor] | None = None,
) -> dict[int, Tensor]:
    """Run the blocks that there are constants for.

    Args:
        dit: diffusers' ``WanTransformer3DModel`` or ``WanVACETransformer3DModel``.
        stream: (N, L, C) from ``embed_patches``.
        constants: one for each block that is run.
        rotary: from ``positions``.
        blocks: zero-based indices of the blocks whose output is returned.
        hints: terms that a VACE adds after some blocks.

    Returns:
        Outputs (N, L, C) in the dtype of ``stream``, by block.
    """
    outputs: dict[int, Tensor] = {}
    for index, block_constants in enumerate(constants):
        stream = run_block(dit.blocks[index], stream, block_constants, rotary)
        if hints and index in hints:
            stream = stream + hints[index]
        if index in blocks:
            outputs[index] = stream
    return outputs


def run_block(block: Any, stream: Tensor, constants: BlockConstants, rotary: Tensor) -> Tensor:
    """Run one block of diffusers, a main one or one of a VACE's control, on (N, L, C).

    The residual stream keeps its dtype; projections run in that of their weights.
    """
    dtype = block.attn1.to_q.weight.dtype
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = constants.modulation
    x = _modulated(stream, scale, shift, block.norm1.eps).to(dtype)
    stream = _add_gated(stream, _self_attention(block.attn1, x, rotary), gate)
    x = block.norm2(stream.float()).to(dtype)
    stream = stream + constants.cross(block.attn2, x).to(stream.dtype)
    x = _modulated(stream, scale_mlp, shift_mlp, block.norm3.eps).to(dtype)
    return _add_gated(stream, _feed_forward(block.ffn, x), gate_mlp)


def _feed_forward(ffn: Any, x: Tensor) -> Tensor:
    """Run the MLP on (N, L, C); on a CPU in parts of a frame, so that the wide layer's memory is reused."""
    if x.device.type != "cpu":
        return ffn(x)  # type: ignore[no-any-return]
    parts = -(-x.shape[1] // PART)
    return torch.cat([ffn(part) for part in x.tensor_split(parts, dim=1)], dim=1)


def _modulated(stream: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Compute norm(x) (1 + scale) + shift, which is the affine part of one LayerNorm for all tokens."""
    return F.layer_norm(stream.float(), stream.shape[-1:], scale, shift, eps)


def _add_gated(stream: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    return torch.addcmul(stream.float(), update.float(), gate).to(stream.dtype)


def _self_attention(attention: Any, x: Tensor, rotary: Tensor) -> Tensor:
    heads = (attention.heads, -1)
    query = _rotated(attention.norm_q(attention.to_q(x)).unflatten(2, heads), rotary)
    key = _rotated(attention.norm_k(attention.to_k(x)).unflatten(2, heads), rotary)
    value = attention.to_v(x).unflatten(2, heads)  # (N, L, heads, d)
    attended = _attend(attention, query, key, value, None)
    return attention.to_out[0](attended.flatten(2).type_as(x))  # type: ignore[no-any-return]


def _rotated(x: Tensor, rotary: Tensor) -> Tensor:
    """Turn pairs of channels of (N, L, heads, d) by their position's angles."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))  # (N, L, heads, d / 2)
    return torch.view_as_real(pairs * rotary).flatten(-2).to(x.dtype)


def _attend(attention: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Compute attention on (N, L, heads, d) with the back end that the user chose by name."""
    if bias is not None:  # a handful of keys: torch's own kernel, which every back end but it would refuse
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None, None, None])
        return attended.transpose(1, 2)
    # named, because diffusers' own default follows whatever another model of the process has set
    backend = attention.processor._attention_backend or DIFFUSERS_ATTN_BACKEND
    return dispatch_attention_fn(query, key, value, backend=backend)  # type: ignore[no-any-return]


def working_backends(device: str | torch.device = "cpu") -> tuple[str, ...]:
    """Values of ``WanConfig(attention=...)`` that work here, found by running each on a small tensor.

    It is float32 on a CPU, bfloat16 on a GPU. Back ends that would be downloaded are left out.
    """
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    x = torch.zeros(1, 32, 2, 64, device=device, dtype=dtype)  # (N, L, heads, d)
    names = [backend for backend in AttentionBackendName if not backend.value.endswith("_hub")]
    return tuple(backend.value for backend in names if _works(backend, x))


def _works(backend: AttentionBackendName, x: Tensor) -> bool:
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            attended = dispatch_attention_fn(x, x, x, backend=backend)
    except Exception:  # a missing library fails in as many ways as there are libraries
        return False
    return bool(torch.isfinite(attended).all())
