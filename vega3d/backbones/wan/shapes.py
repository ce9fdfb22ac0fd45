"""Dimensions of a Wan, by the name of a published one or from the ``config.json`` of a folder or hub id.

The published shapes are data (``shapes.json``, with their sources) and need no network. Weights are never
fetched. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from vega3d._utils import files
from vega3d.backbones.wan.flops import DitShape, VaeShape
from vega3d.errors import BackboneError, nearest

SHAPES = Path(__file__).with_name("shapes.json")
_ORIGINAL = {"num_attention_heads": "num_heads", "ffn_dim": "ffn_dim", "num_layers": "num_layers"}
_UNREACHED = (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError)


@dataclass(frozen=True)
class WanShape:
    """Settings of a Wan under diffusers' names.

    Attributes:
        transformer: settings of the transformer.
        vae: settings of the VAE.
    """

    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]

    @property
    def dit(self) -> DitShape:
        """Dimensions of the transformer."""
        return DitShape.from_diffusers(self.transformer)

    @property
    def encoder(self) -> VaeShape:
        """Dimensions of the VAE's encoder."""
        return VaeShape.from_diffusers(self.vae)

    @property
    def is_vace(self) -> bool:
        """True if the Wan has a control branch."""
        return bool(self.dit.vace_layers)


@cache
def _published() -> dict[str, Any]:
    shapes: dict[str, Any] = json.loads(SHAPES.read_text(encoding="utf-8"))
    return shapes


def find_wan(path: str | None) -> WanShape:
    """Find the settings of a Wan.

    Args:
        path: ``t2v-1.3b``, ``t2v-14b``, ``vace-1.3b``, ``vace-14b``, or a folder or hub id of either layout.

    Raises:
        BackboneError: there is no such Wan.
        CheckpointError: the configuration is damaged.
    """
    name, known, vae = str(path), _published()["wans"], _published()["vae"]
    for short, shape in known.items():
        if name.lower() in (short, shape["id"].lower()):
            return WanShape({key: value for key, value in shape.items() if key != "id"}, vae)
    transformer = _read(name, "transformer/config.json")
    if transformer is not None:
        return WanShape(_public(transformer), _public(_read(name, "vae/config.json") or vae))
    original = _read(name, "config.json")
    if original is None or "dim" not in original:
        close = nearest(name.lower(), known)
        raise BackboneError(
            f"Unknown Wan {name!r}.",
            got="no such folder or hub repository, or none with a Wan's configuration",
            expected="one of " + ", ".join(known) + ", or a folder or hub id of a Wan2.1",
            fix=f"did you mean {close!r}?" if close else "check the spelling; offline, name a folder",
        )
    return WanShape(_from_original(original), vae)


def _read(name: str, file: str) -> dict[str, Any] | None:
    """Read a configuration of a folder or a hub repository; None if there is none."""
    folder = Path(name)
    if folder.is_dir():
        return files.read_json(folder / file, "a whole file") if (folder / file).exists() else None
    try:
        return files.read_json(Path(hf_hub_download(name, file)), "a whole file")
    except _UNREACHED:
        return None


def _public(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Remove diffusers' private entries."""
    return {key: value for key, value in settings.items() if not key.startswith("_")}


def _from_original(original: Mapping[str, Any]) -> dict[str, Any]:
    """Translate an original ``config.json`` to diffusers' names; absent values are equal in all Wan2.1."""
    settings: dict[str, Any] = {new: original[old] for new, old in _ORIGINAL.items()}
    settings["attention_head_dim"] = original["dim"] // original["num_heads"]
    settings |= {key: original[key] for key in ("text_dim", "freq_dim", "vace_layers") if key in original}
    return settings
