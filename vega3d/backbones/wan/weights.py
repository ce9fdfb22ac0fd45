"""Wan's weights from disk or hub, in diffusers' layout or the original one.

diffusers' folder (``transformer/``, ``vae/``) and the original one (``config.json``, ``*.safetensors``,
``Wan2.1_VAE.pth``) give the same state dicts, renamed by diffusers' own tables and loaded strictly into
diffusers' own classes. Only the blocks that are run, and only the VAE's encoder, are read. Values that are
absent from an original ``config.json`` follow from the tensors' shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import vega3d._utils.torchvision  # noqa: F401  (before diffusers)

# isort: split
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from diffusers.loaders.single_file_utils import (
    convert_wan_transformer_to_diffusers,
    convert_wan_vae_to_diffusers,
)
from torch import Tensor, nn

from vega3d._utils import files
from vega3d.backbones.frozen import Tensors, fill, opened, read, unfit
from vega3d.backbones.wan.config import require_block

NAME = "diffusion_pytorch_model"
ORIGINAL_VAE = ("Wan2.1_VAE.safetensors", "Wan2.1_VAE.pth")
PATTERNS = ["transformer/*", "vae/*", "prompt_embeds.safetensors", "config.json", f"{NAME}*", "Wan2.1_VAE.*"]
LAYOUTS = "a diffusers folder (transformer/, vae/), an original Wan2.1 folder, or the hub id of one"
_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")
_CONTROL = re.compile(r"(?:^|\.)vace_blocks\.(\d+)\.")


def load_transformer(folder: Path, block: int, dtype: torch.dtype) -> Any:
    """Load diffusers' transformer, text-to-video or VACE, frozen.

    Args:
        folder: of either layout.
        block: the last block that is kept, with a VACE's control blocks up to it.
        dtype: of all parameters but those that diffusers keeps in float32.

    Raises:
        BackboneError: the transformer has fewer blocks.
        CheckpointError: a file or tensor is missing, damaged, or a pickle.
    """
    original = not (folder / "transformer").is_dir()
    home = folder if original else folder / "transformer"
    config = files.read_json(home / "config.json", LAYOUTS)
    names = [name for file in _shards(home) for name in _names(file)]
    layers = 1 + max((int(m.group(1)) for n in names if (m := _BLOCK.search(n))), default=-1)
    require_block(block, layers, str(folder))
    controls = [layer for layer in _control_layers(config, names, home) if layer <= block]
    tensors = _read(home, block + 1, len(controls))
    if original:
        tensors = convert_wan_transformer_to_diffusers(tensors)
        config = _transformer_config(config, tensors)
    model = empty_transformer(config, block, controls)
    cast = {n: t.to(torch.float32 if stays_float32(n, model) else dtype) for n, t in tensors.items()}
    return fill(model, cast, home)


def empty_transformer(settings: Mapping[str, Any], block: int, controls: Sequence[int]) -> Any:
    """Build diffusers' transformer without weights, on the meta device.

    Args:
        settings: of its diffusers configuration.
        block: the last block that is kept.
        controls: main blocks of a VACE that have a control block.
    """
    changes: dict[str, Any] = {"num_layers": block + 1}
    kind = WanTransformer3DModel
    if controls:
        changes["vace_layers"] = list(controls)
        kind = WanVACETransformer3DModel
    with init_empty_weights(include_buffers=False):  # the rotary tables are buffers, and are needed
        return kind.from_config({**settings, **changes})


def empty_vae(settings: Mapping[str, Any]) -> Any:
    """Build the encoder of diffusers' VAE without weights, on the meta device."""
    with init_empty_weights(include_buffers=False):
        model = AutoencoderKLWan.from_config(dict(settings))
    model.decoder = nn.Identity()
    model.post_quant_conv = nn.Identity()
    return model


def stays_float32(parameter: str, model: Any) -> bool:
    """True if diffusers keeps a parameter in float32 under any dtype."""
    return not set(model._keep_in_fp32_modules or ()).isdisjoint(parameter.split("."))


def _control_layers(config: Mapping[str, Any], names: list[str], home: Path) -> list[int]:
    """Main blocks that a VACE's control blocks belong to; empty for a text-to-video Wan."""
    blocks = {int(match.group(1)) for name in names if (match := _CONTROL.search(name))}
    layers = list(config.get("vace_layers") or []) if blocks else []
    if len(layers) != len(blocks):
        raise unfit(home, f"{len(blocks)} control blocks, and vace_layers {layers} in config.json")
    return layers


def load_vae(folder: Path) -> Any:
    """Load the encoder of diffusers' VAE in float32, frozen.

    Raises:
        CheckpointError: a file or tensor is missing or damaged.
    """
    if (folder / "vae").is_dir():
        home = folder / "vae"
        config = files.read_json(home / "config.json", LAYOUTS)
        tensors = {name: t for file in _shards(home) for name, t in read(file, _is_encoder).items()}
    else:
        home = folder
        converted = convert_wan_vae_to_diffusers(_read_original_vae(folder))
        tensors = {name: tensor for name, tensor in converted.items() if _is_encoder(name)}
        config = vae_config(tensors)
    return fill(empty_vae(config), {name: tensor.float() for name, tensor in tensors.items()}, home)


def _is_encoder(name: str) -> bool:
    return name.startswith(("encoder.", "quant_conv."))


def vae_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Dimensions of a VAE, from the shapes of its encoder's tensors (diffusers names)."""
    base = tensors["encoder.conv_in.weight"].shape[0]
    numbers = sorted({int(n.split(".")[2]) for n in tensors if n.startswith("encoder.down_blocks.")})
    blocks = [f"encoder.down_blocks.{number}." for number in numbers]
    convolutions = [name for block in blocks if (name := f"{block}conv1.weight") in tensors]
    halvings = [block for block in blocks if f"{block}conv1.weight" not in tensors]  # each ends a stage
    depth = len(convolutions) // (len(halvings) + 1)  # residual blocks of a stage
    return {
        "base_dim": base,
        "z_dim": tensors["quant_conv.weight"].shape[0] // 2,
        "dim_mult": [tensors[name].shape[0] // base for name in convolutions[depth - 1 :: depth]],
        "num_res_blocks": depth,
        "temperal_downsample": [f"{block}time_conv.weight" in tensors for block in halvings],
    }


def _transformer_config(original: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """diffusers' settings from an original config; absent values follow from the tensors' shapes."""
    width, latents, *patch = tensors["patch_embedding.weight"].shape
    heads = int(original.get("num_heads", width // 128))  # all published sizes have heads of 128
    config = {
        "patch_size": tuple(patch),
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "in_channels": latents,
        "out_channels": tensors["proj_out.weight"].shape[0] // (patch[0] * patch[1] * patch[2]),
        "text_dim": tensors["condition_embedder.text_embedder.linear_1.weight"].shape[1],
        "freq_dim": tensors["condition_embedder.time_embedder.linear_1.weight"].shape[1],
        "ffn_dim": tensors["blocks.0.ffn.net.0.proj.weight"].shape[0],
        "cross_attn_norm": "blocks.0.norm2.weight" in tensors,
        "qk_norm": "rms_norm_across_heads",
        "eps": float(original.get("eps", 1e-6)),
    }
    if (control := tensors.get("vace_patch_embedding.weight")) is not None:
        config["vace_in_channels"] = control.shape[1]
    return config


def _shards(home: Path) -> list[Path]:
    """List every safetensors file of a model."""
    index = home / f"{NAME}.safetensors.index.json"
    if index.exists():
        return sorted({home / file for file in files.read_json(index, LAYOUTS)["weight_map"].values()})
    aside = {*ORIGINAL_VAE, "prompt_embeds.safetensors"}
    other = sorted(file for file in home.glob("*.safetensors") if file.name not in aside)
    named = home / f"{NAME}.safetensors"
    return [named] if named.exists() or not other else other


def _names(file: Path) -> list[str]:
    if not file.exists():
        raise files.missing(file, LAYOUTS, known=ORIGINAL_VAE)
    with opened(file) as tensors:
        return list(tensors.keys())


def _read(home: Path, blocks: int, controls: int) -> Tensors:
    """Read a transformer but for blocks, and control blocks of a VACE, from these numbers on."""

    def is_kept(name: str) -> bool:
        block, control = _BLOCK.search(name), _CONTROL.search(name)
        if control:
            return int(control.group(1)) < controls
        return block is None or int(block.group(1)) < blocks

    return {name: tensor for file in _shards(home) for name, tensor in read(file, is_kept).items()}


def _read_original_vae(folder: Path) -> Tensors:
    file = next((folder / name for name in ORIGINAL_VAE if (folder / name).exists()), None)
    if file is None:
        raise files.missing(folder / ORIGINAL_VAE[1], LAYOUTS)
    if file.suffix == ".safetensors":
        return read(file, lambda name: True)
    try:
        tensors: Tensors = torch.load(file, map_location="cpu", weights_only=True)
        return tensors
    except Exception as error:  # unpickling raises whatever the file makes it raise
        raise files.damaged(file, error) from error
