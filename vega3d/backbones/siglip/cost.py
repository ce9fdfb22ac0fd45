"""Cost of a clip in SigLIP's vision tower, counted from its configuration."""

from __future__ import annotations

from typing import Any

import torch

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import SiglipVisionConfig, SiglipVisionModel

from vega3d.backbones.base import BackboneCost, Device, Part, as_plan, micro_batch
from vega3d.backbones.siglip.config import SiglipConfig
from vega3d.errors import BackboneError
from vega3d.media.frame_plan import FramePlan


def clip_cost(config: SiglipConfig, frames: int | FramePlan, device: Device) -> BackboneCost:
    """Cost of one clip, see ``SiglipConfig.cost``."""
    shape = _shape(config)
    shape.num_hidden_layers += 1 + config.layer
    side, count = shape.image_size // shape.patch_size, len(as_plan(config, frames).generative)
    tokens, channels, inner = side**2, shape.hidden_size, shape.intermediate_size
    patches = tokens * channels * shape.num_channels * shape.patch_size**2
    block = tokens * channels * (4 * channels + 2 * tokens + 2 * inner)  # q k v o, both products, mlp
    with torch.device("meta"):
        tower = SiglipVisionModel(shape).to(getattr(torch, config.dtype))
    word, batch = 4 if config.dtype == "float32" else 2, micro_batch(config, device)
    return BackboneCost(
        channels=channels,
        picture=(shape.image_size, shape.image_size),
        steps=count,
        cells=(side, side),
        flops={"patches": 2.0 * count * patches, "blocks": 2.0 * count * shape.num_hidden_layers * block},
        parts=(Part.of(f"SigLIP, {shape.num_hidden_layers} blocks", tower),),
        moments={
            "mlp": batch * tokens * (2 * channels + 2 * inner) * word,  # two streams, up and its GELU
            "features": 2 * count * tokens * channels * 4,
        },
        encoded=count,
    )


def _shape(config: SiglipConfig) -> Any:
    path, revision = str(config.path), config.revision
    try:
        return SiglipVisionConfig.from_pretrained(path, revision=revision, vision_use_head=False)
    except (OSError, ValueError) as error:
        got, expected = str(error).splitlines()[0], "a folder or hub id with the config.json of a SigLIP"
        fix = "check the spelling; offline, name a folder"
        raise BackboneError(f"Unknown SigLIP {path!r}.", got=got, expected=expected, fix=fix) from error
