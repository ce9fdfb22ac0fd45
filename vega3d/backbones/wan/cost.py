"""Cost of a clip in Wan: parameters, operations, memory and steps from configurations alone."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from vega3d.backbones.cost import BackboneCost, Device, Part, as_plan
from vega3d.backbones.wan import vace, weights
from vega3d.backbones.wan.config import PATCH, WanConfig
from vega3d.backbones.wan.flops import Work, wan_flops
from vega3d.backbones.wan.memory import branch_memory
from vega3d.backbones.wan.resize import tower_size
from vega3d.backbones.wan.shapes import find_wan
from vega3d.backbones.wan.vae2d import PlaneEncoder

if TYPE_CHECKING:
    from vega3d.media.frame_plan import FramePlan


def clip_cost(
    config: WanConfig, size: tuple[int, int], frames: int | FramePlan, device: Device
) -> BackboneCost:
    """Cost of one clip, see ``WanConfig.cost``."""
    shape, work = find_wan(config.path), Work.of(config, as_plan(config, frames).runs)
    vace.require_kind(config.mode, shape.is_vace)
    weights.require_block(config.block, shape.dit.layers, str(config.path))
    picture = tower_size(*size, config)
    flops = wan_flops(config, shape.dit, shape.encoder, picture, work)
    once, encoder = flops.pop("condition"), flops.pop("vae")
    return BackboneCost(
        channels=shape.dit.channels,
        picture=picture,
        steps=work.steps,
        cells=(config.pool, config.pool) if config.pool else (picture[0] // PATCH, picture[1] // PATCH),
        flops={"vae": encoder, "dit": sum(flops.values())},
        once=once,
        parts=_parts(json.dumps([dict(shape.transformer), dict(shape.vae)]), config.block, config.dtype),
        moments=branch_memory(config, shape.dit, shape.encoder, picture, work, device),
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
