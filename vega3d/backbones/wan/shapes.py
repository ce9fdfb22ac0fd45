"""Dimensions of a Wan, by the name of a published one or from the ``config.json`` of a folder or hub id.

The published shapes are data (``shapes.json``, with their sources) and need no network. Weights are never
fetched. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from vega3d._utils import files
from vega3d.errors import BackboneError, nearest
from vega3d.settings import from_mapping

SHAPES = Path(__file__).with_name("shapes.json")
_ORIGINAL = {"num_attention_heads": "num_heads", "ffn_dim": "ffn_dim", "num_layers": "num_layers"}
_UNREACHED = (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError)


class _Shape:
    @classmethod
    def from_diffusers(cls, settings: Mapping[str, Any]) -> Self:
        """Read a diffusers configuration, from disk or of a loaded model."""
        return from_mapping(cls, settings, ignored=[])


@dataclass(frozen=True)
class DitShape(_Shape):
    """Dimensions of a Wan transformer, under diffusers' names.

    Attributes:
        num_attention_heads: heads of attention.
        attention_head_dim: width of a head.
        ffn_dim: inner width of the MLPs.
        num_layers: number of main blocks.
        text_dim: width of the prompt's embedding.
        freq_dim: width of the timestep's sinusoid.
        in_channels: channels of a latent.
        vace_layers: main blocks that a VACE's control blocks belong to; empty for a text-to-video Wan.
    """

    num_attention_heads: int
    attention_head_dim: int
    ffn_dim: int
    num_layers: int
    text_dim: int = 4096
    freq_dim: int = 256
    in_channels: int = 16
    vace_layers: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """C, width of the residual stream."""
        return self.num_attention_heads * self.attention_head_dim

    def kept(self, block: int) -> DitShape:
        """Dimensions of the part up to ``block``."""
        controls = tuple(layer for layer in self.vace_layers if layer <= block)
        return replace(self, num_layers=block + 1, vace_layers=controls)


@dataclass(frozen=True)
class VaeShape(_Shape):
    """Dimensions of a Wan VAE's encoder, under diffusers' names; the defaults are the published one's.

    Attributes:
        base_dim: channels after the first convolution.
        dim_mult: multiples of ``base_dim``, one a stage; every stage but the last halves the picture.
        num_res_blocks: residual blocks in a stage.
        z_dim: channels of the latent.
        temperal_downsample: True for each stage that also halves the time; the last stage has no entry.
    """

    base_dim: int = 96
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    z_dim: int = 16
    temperal_downsample: tuple[bool, ...] = (False, True, True)


Settings = Mapping[str, Any]


def find_wan(path: str | None) -> tuple[Settings, Settings]:
    """Find the settings of a Wan's transformer and of its VAE, under diffusers' names.

    Args:
        path: ``t2v-1.3b``, ``t2v-14b``, ``vace-1.3b``, ``vace-14b``, or a folder or hub id of either layout.

    Raises:
        BackboneError: there is no such Wan.
        CheckpointError: the configuration is damaged.
    """
    published = files.read_json(SHAPES, "a whole file")
    name, known, vae = str(path), published["wans"], published["vae"]
    for short, shape in known.items():
        if name.lower() in (short, shape["id"].lower()):
            return {key: value for key, value in shape.items() if key != "id"}, vae
    transformer = _read(name, "transformer/config.json")
    if transformer is not None:
        return transformer, _read(name, "vae/config.json") or vae
    original = _read(name, "config.json")
    if original is None or "dim" not in original:
        close = nearest(name.lower(), known)
        got = "no such folder or hub repository, or none with a Wan's configuration"
        expected = f"one of {', '.join(known)}, or a folder or hub id of a Wan2.1"
        fix = f"did you mean {close!r}?" if close else "check the spelling; offline, name a folder"
        raise BackboneError(f"Unknown Wan {name!r}.", got=got, expected=expected, fix=fix)
    return _from_original(original), vae


def _read(name: str, file: str) -> dict[str, Any] | None:
    """Read a configuration of a folder or a hub repository; None if there is none."""
    folder = Path(name)
    if folder.is_dir():
        return files.read_json(folder / file, "a whole file") if (folder / file).exists() else None
    try:
        return files.read_json(Path(hf_hub_download(name, file)), "a whole file")
    except _UNREACHED:
        return None


def _from_original(original: Mapping[str, Any]) -> dict[str, Any]:
    """Translate an original ``config.json`` to diffusers' names; absent values are equal in all Wan2.1."""
    settings: dict[str, Any] = {new: original[old] for new, old in _ORIGINAL.items()}
    settings["attention_head_dim"] = original["dim"] // original["num_heads"]
    settings |= {key: original[key] for key in ("text_dim", "freq_dim", "vace_layers") if key in original}
    return settings
