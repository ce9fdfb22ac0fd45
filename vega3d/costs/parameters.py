"""Parameters by part, and the number of those that a training run changes.

They are counted on the real classes on the meta device, so nothing is allocated, and counts follow changes of
a class. Published hosts are data (``hosts.json``, with their sources); of a folder or a hub id only the
configuration is read. LoRA is counted on the layers in ``lora_targets`` of the host's family, without PEFT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import transformers
from torch import nn
from transformers import AutoConfig, Qwen2_5_VLConfig

from vega3d import registry
from vega3d.backbones.cost import Part
from vega3d.config import FusionConfig
from vega3d.errors import HostError, nearest
from vega3d.fusion import build
from vega3d.hosts import family_of

HOSTS = Path(__file__).with_name("hosts.json")
ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}


@cache
def _published() -> dict[str, Any]:
    shapes: dict[str, Any] = json.loads(HOSTS.read_text(encoding="utf-8"))
    return shapes


def find_host(name: str) -> Any:
    """Find the transformers configuration of a host.

    Args:
        name: ``3b``, ``7b``, ``32b`` or ``72b`` for Qwen2.5-VL, or a folder or hub id with a config.json.

    Raises:
        HostError: there is no such host, or its configuration is missing.
    """
    known = _published()["hosts"]
    for short, shape in known.items():
        if name.lower() in (short, shape["id"].lower()):
            return _qwen(shape)
    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        close = nearest(name.lower(), known)
        raise HostError(
            f"Unknown host {name!r}.",
            got=str(error).splitlines()[0],
            expected="one of " + ", ".join(known) + ", or a folder or hub id with a config.json",
            fix=f"did you mean {close!r}?" if close else "check the spelling; offline, name a folder",
        ) from error


def _qwen(shape: Mapping[str, Any]) -> Any:
    text = {**shape["text"], "rope_parameters": ROPE}
    vision = {
        **_published()["vision"],
        "intermediate_size": shape["vision_intermediate"],
        "out_hidden_size": text["hidden_size"],
    }
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=shape["tied"])


def empty_host(config: Any, dtype: torch.dtype = torch.bfloat16) -> Any:
    """Build a host of its own class on the meta device.

    Raises:
        HostError: no family is registered for it, or transformers has no such model.
    """
    try:
        kind = transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    except KeyError:
        raise HostError(
            f"Invalid host: {config.model_type!r} is not a vision-language model of transformers.",
            got=type(config).__name__,
            expected="a model of one of the types " + ", ".join(registry.names("hosts")),
            fix="name a Qwen2-VL, Qwen2.5-VL or Qwen3-VL",
        ) from None
    with torch.device("meta"):
        host = kind(config).to(dtype)
    family_of(host)
    return host


def host_parts(host: Any) -> tuple[Part, Part]:
    """Count the language model with embeddings and head, and the vision tower with its merger."""
    whole, vision = Part.of("host", host), Part.of("vision tower", family_of(host).vision_tower(host))
    text = Part(
        "language model", whole.parameters - vision.parameters, whole.size - vision.size
    )  # embeddings and head may be one tensor
    return text, vision


def new_parts(fusion: FusionConfig, channels: int, width: int) -> tuple[Part, Part]:
    """Count projector and fusion of a method, in float32.

    Args:
        fusion: the method and its hidden width.
        channels: C of the generator.
        width: D of the host.
    """
    kind = registry.resolve("fusions", fusion.type)
    with torch.device("meta"):
        projector, gate = build(kind, width, fusion.hidden, channels)
    return Part.of("projector", projector), Part.of("fusion", gate)


def lora_parameters(host: Any, rank: int) -> int:
    """Count the parameters of LoRA on the targets of the host's family: seven linear layers in each block."""
    pattern = re.compile(family_of(host).lora_targets)
    targets = [
        module
        for name, module in host.named_modules()
        if isinstance(module, nn.Linear) and pattern.fullmatch(name)
    ]
    return sum(rank * (module.in_features + module.out_features) for module in targets)
