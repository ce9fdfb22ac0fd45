"""Hosts without weights: on the meta device, from a configuration alone.

Published hosts are data (``hosts.json``, with their sources); of a folder or a hub id only the configuration
is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import transformers
from transformers import AutoConfig, Qwen2_5_VLConfig

from vega3d import registry
from vega3d._utils import files, hub
from vega3d.errors import HostError, nearest
from vega3d.hosts.base import family_of

HOSTS = Path(__file__).with_name("hosts.json")
ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}


def find_host(name: str) -> Any:
    """Find the transformers configuration of a host.

    Args:
        name: ``3b``, ``7b``, ``32b`` or ``72b`` for Qwen2.5-VL, or a folder or hub id with a config.json.

    Raises:
        HostError: there is no such host, or its configuration is missing.
    """
    published = files.read_json(HOSTS, "a whole file")
    known = published["hosts"]
    for short, shape in known.items():
        if name.lower() in (short, shape["id"].lower()):
            return _qwen(shape, published["vision"])
    try:
        is_there = Path(name).is_dir()
        return AutoConfig.from_pretrained(name, local_files_only=not is_there and hub.is_offline())
    except (OSError, ValueError) as error:
        close = nearest(name.lower(), known)
        got, expected = str(error).splitlines()[0], f"one of {', '.join(known)}, or a folder or hub id"
        fix = f"did you mean {close!r}?" if close else "check the spelling; offline, name a folder"
        raise HostError(f"Unknown host {name!r}.", got=got, expected=expected, fix=fix) from error


def _qwen(shape: Mapping[str, Any], common: Mapping[str, Any]) -> Any:
    text = {**shape["text"], "rope_parameters": ROPE}
    sizes = {"intermediate_size": shape["vision_intermediate"], "out_hidden_size": text["hidden_size"]}
    vision = {**common, **sizes}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=shape["tied"])


def empty_host(config: Any, dtype: torch.dtype = torch.bfloat16) -> Any:
    """Build a host of its own class on the meta device.

    Raises:
        HostError: no family is registered for it, or transformers has no such model.
    """
    try:
        kind = transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    except KeyError:
        title = f"Invalid host: {config.model_type!r} is not a vision-language model of transformers."
        expected = f"one of the types {', '.join(registry.names('hosts'))}"
        fix = "name a Qwen2-VL, Qwen2.5-VL or Qwen3-VL"
        raise HostError(title, got=type(config).__name__, expected=expected, fix=fix) from None
    with torch.device("meta"):
        host = kind(config).to(dtype)
    family_of(host)
    return host
