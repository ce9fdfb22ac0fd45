"""Cost of a clip in Wan: parameters, operations, memory and steps from configurations alone.

Memory beside the weights is the sum of the tensors that torch holds at once, counted from shapes: those alive
at the peak of the VAE and of a block of the DiT, and the features that wait until the clip is complete. A
GPU's context (some 0.5 GiB), scratch space of its libraries and unused memory that the allocator keeps are
not counted.
"""

from __future__ import annotations

import json
from functools import cache

import torch
from torch import nn

from vega3d.backbones.base import BackboneCost, Device, Part, as_plan, micro_batch
from vega3d.backbones.wan import vace, weights
from vega3d.backbones.wan.backbone import tower_size
from vega3d.backbones.wan.config import AS_VIDEO, PATCH, WanConfig, require_block
from vega3d.backbones.wan.dit import PART
from vega3d.backbones.wan.encoder import PlaneEncoder
from vega3d.backbones.wan.flops import CONTROL, Work, wan_flops
from vega3d.backbones.wan.shapes import DitShape, VaeShape, find_wan
from vega3d.media.frame_plan import FramePlan

WORD = 4  # bytes of a float32
PICTURES = 15  # channels of pictures beside the VAE's own tensors: decoded, stacked, scaled, padded
# Full-size tensors that the published VAE holds at once, each of its first width, with the convolutions'
# copies of their inputs. For a single frame in 2-D: a residual block's input, and three on the way to its
# output. For a video of 5 or more frames: measured, see docs/estimate.md.
TENSORS = {1: 4.0, 5: 36.6}
LONGER_TENSORS = 40.7
PLAIN = 4 * 16  # channels of latents: clean, their noise, noised, and in the place where they are cut
CONTROLLED = PLAIN + 2 * (16 + CONTROL)  # a VACE's with their control, before and after they are cut


def clip_cost(
    config: WanConfig, size: tuple[int, int], frames: int | FramePlan, device: Device
) -> BackboneCost:
    """Cost of one clip, see ``WanConfig.cost``."""
    settings, work = find_wan(config.path), Work.of(config, as_plan(config, frames).runs)
    dit, encoder = DitShape.from_diffusers(settings[0]), VaeShape.from_diffusers(settings[1])
    vace.require_kind(config.mode, bool(dit.vace_layers))
    require_block(config.block, dit.num_layers, str(config.path))
    picture = tower_size(*size, config)
    flops = wan_flops(config, dit, encoder, picture, work)
    once, vae = flops.pop("condition"), flops.pop("vae")
    return BackboneCost(
        channels=dit.channels,
        picture=picture,
        steps=work.steps,
        cells=(config.pool, config.pool) if config.pool else (picture[0] // PATCH, picture[1] // PATCH),
        flops={"vae": vae, "dit": sum(flops.values())},
        once=once,
        parts=_parts(json.dumps(settings), config.block, config.dtype),
        moments=branch_memory(config, dit, encoder, picture, work, device),
        encoded=sum(work.encodes),
    )


@cache
def _parts(settings: str, block: int, dtype: str) -> tuple[Part, ...]:
    """Parts that a backbone keeps, counted on the real classes on the meta device."""
    transformer, vae = json.loads(settings)
    controls = [layer for layer in transformer.get("vace_layers") or () if layer <= block]
    with torch.device("meta"):
        dit, encoder = weights.empty_transformer(transformer, block, controls), weights.empty_vae(vae)
    for name, parameter in dit.named_parameters():
        if not weights.stays_float32(name, dit):
            parameter.data = parameter.data.to(getattr(torch, dtype))
    others = [module for name, module in dit.named_children() if name not in ("blocks", "vace_blocks")]
    control = [Part.of(f"Wan, {len(controls)} control blocks", dit.vace_blocks)] if controls else []
    return (
        Part.of(f"Wan, blocks 0 to {block}", dit.blocks),
        *control,
        Part.of("Wan, embeddings and head", *others, nn.ParameterList([dit.scale_shift_table])),
        Part.of("VAE encoder", encoder),
        Part.of("VAE encoder in 2-D", PlaneEncoder(encoder)),
    )


def branch_memory(
    config: WanConfig, dit: DitShape, vae: VaeShape, size: tuple[int, int], work: Work, device: Device
) -> dict[str, int]:
    """Bytes in each moment that may have the peak, without the weights.

    Args:
        config: settings.
        dit: dimensions of the transformer.
        vae: dimensions of the VAE's encoder.
        size: height and width of the tower's picture in pixels.
        work: on the clip.
        device: kind of device; it sets the default micro-batch, and on a CPU the MLP runs in parts.

    Returns:
        ``vae``, ``dit`` with the features that are done by then, and ``features``, the moment when those of
        the clip are joined.
    """
    grid, longest = (size[0] // PATCH) * (size[1] // PATCH), max(work.forwards)
    batch = config.dit_batch(device)
    waiting = grid * sum(work.forwards) * dit.channels * WORD  # of every latent frame, float32
    done = (len(work.forwards) - 1) // batch * batch / len(work.forwards)  # before the last forward
    rotary = grid * longest * dit.channels // dit.num_attention_heads * WORD
    inside = batch * _token_bytes(config, dit.kept(config.block), grid * longest, device) * grid * longest
    channels = CONTROLLED if dit.vace_layers else PLAIN
    latents = channels * 4 * WORD * grid * sum(work.forwards)  # four latent positions a token
    return {
        "vae": _encoding(config, vae, size[0] * size[1], max(work.encodes), device),
        "dit": inside + rotary + int(done * waiting) + latents,
        "features": min(config.noise_samples + 1, 4) * waiting + latents,
    }


def _encoding(config: WanConfig, vae: VaeShape, area: int, frames: int, device: Device) -> int:
    """Bytes of the VAE on one micro-batch of its longest videos."""
    batch = config.dit_batch(device) if config.mode in AS_VIDEO else micro_batch(config, device)
    tensors = TENSORS.get(frames, LONGER_TENSORS)
    return int(batch * area * WORD * (tensors * vae.base_dim + PICTURES * frames))


def _token_bytes(config: WanConfig, dit: DitShape, tokens: int, device: Device) -> int:
    """Bytes for each token at the peak of a block, counted from the tensors of ``dit.run_block``.

    Args:
        config: settings.
        dit: dimensions of the kept part of the transformer.
        tokens: number of tokens of one video.
        device: on a CPU the MLP runs in parts of ``PART`` tokens.
    """
    wide, word = dit.channels, 4 if config.dtype == "float32" else 2  # bytes of a number beside the stream
    stream = 4 if config.residual_dtype == "float32" else word
    cast = 4 if word == 2 else 0  # a float32 copy of a tensor in another dtype
    share = 1.0 if device == "cuda" else 1 / -(-tokens // PART)
    inner = 2 * word * dit.ffn_dim * share + (1 - share) * word * wide  # up, its GELU; finished parts
    moments = (
        2 * stream * wide + 3 * word * wide + (4 + cast + (word if cast else 0)) * wide,  # a key is rotated
        2 * stream * wide + 6 * word * wide,  # query, key, value, their result, and its projection
        3 * stream * wide + (word + 12 + (word if cast else 0)) * wide,  # cross attention, in closed form
        3 * stream * wide + word * wide + inner,  # the MLP
    )
    hints = len(dit.vace_layers) * stream * wide
    return int(max(moments)) + hints
