"""Wan's weights from disk or hub, in diffusers' layout or the original one.

diffusers' folder (``transformer/``, ``vae/``) and the original one (``config.json``, ``*.safetensors``,
``Wan2.1_VAE.pth``) give the same state dicts, renamed by diffusers' own tables and loaded strictly into
diffusers' own classes. Only the blocks that are run, and only the VAE's encoder, are read. Values that are
absent from an original ``config.json`` follow from the tensors' shapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vega3d._utils import files, hub
from vega3d.errors import BackboneError, CheckpointError

Tensors = dict[str, Tensor]

NAME = "diffusion_pytorch_model"
ORIGINAL_VAE = ("Wan2.1_VAE.safetensors", "Wan2.1_VAE.pth")
ENCODER = ("encoder.", "quant_conv.")
_PATTERNS = ["transformer/*", "vae/*", "prompt_embeds.safetensors", "config.json", f"{NAME}*", "Wan2.1_VAE.*"]
_FOLDER = "a diffusers folder (transformer/, vae/) or an original Wan2.1 folder"
_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")
_CONTROL = re.compile(r"(?:^|\.)vace_blocks\.(\d+)\.")


def find_folder(path: str | Path, revision: str | None) -> Path:
    """Find a local folder, or download the needed files of a hub repository.

    Raises:
        BackboneError: neither exists.
    """
    expected = "a diffusers folder, an original Wan2.1 folder, or a hub id"
    return hub.find_folder(path, revision, _PATTERNS, error=BackboneError, what="Wan", expected=expected)


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
    config = files.read_json(home / "config.json", _FOLDER)
    shards = _shards(home)
    names = [name for shard in shards.values() for name in shard]
    layers = 1 + max((int(m.group(1)) for n in names if (m := _BLOCK.search(n))), default=-1)
    require_block(block, layers, str(folder))
    controls = [layer for layer in _control_layers(config, names, home) if layer <= block]
    tensors = _read(home, shards, lambda name: _is_kept(name, block + 1, len(controls)))
    if original:
        tensors = convert_wan_transformer_to_diffusers(tensors)
        config = _transformer_config(config, tensors)
    model = empty_transformer(config, block, controls)
    cast = {n: t.to(torch.float32 if stays_float32(n, model) else dtype) for n, t in tensors.items()}
    return _fill(model, cast, home)


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


def require_block(block: int, layers: int, where: str) -> None:
    """Refuse a block that does not exist in a transformer of so many layers.

    Raises:
        BackboneError: the block does not exist.
    """
    if block >= layers:
        raise BackboneError(
            f"Invalid block {block}: it does not exist in this transformer.",
            got=f"block={block}; {where} has {layers} blocks",
            expected=f"a zero-based index in 0..{layers - 1}",
            fix=f"block={layers - 1} is the last one",
        )


def _is_kept(name: str, blocks: int, controls: int) -> bool:
    block, control = _BLOCK.search(name), _CONTROL.search(name)
    if control:
        return int(control.group(1)) < controls
    return block is None or int(block.group(1)) < blocks


def _control_layers(config: Mapping[str, Any], names: list[str], home: Path) -> list[int]:
    """Main blocks that a VACE's control blocks belong to; empty for a text-to-video Wan."""
    blocks = {int(match.group(1)) for name in names if (match := _CONTROL.search(name))}
    layers = list(config.get("vace_layers") or []) if blocks else []
    if len(layers) != len(blocks):
        raise _unfit(home, f"{len(blocks)} control blocks, and vace_layers {layers} in config.json")
    return layers


def load_vae(folder: Path) -> Any:
    """Load the encoder of diffusers' VAE in float32, frozen.

    Raises:
        CheckpointError: a file or tensor is missing or damaged.
    """
    if (folder / "vae").is_dir():
        home = folder / "vae"
        config = files.read_json(home / "config.json", _FOLDER)
        tensors = _read(home, _shards(home), lambda name: name.startswith(ENCODER))
    else:
        home = folder
        tensors = convert_wan_vae_to_diffusers(_read_original_vae(folder))
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(ENCODER)}
        config = vae_config(tensors)
    return _fill(empty_vae(config), {name: tensor.float() for name, tensor in tensors.items()}, home)


def vae_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Dimensions of a VAE, from the shapes of its encoder's tensors (diffusers names)."""
    base = tensors["encoder.conv_in.weight"].shape[0]
    widths: list[list[int]] = [[]]  # output channels of each residual block, by stage
    temporal: list[bool] = []
    numbers = sorted({int(n.split(".")[2]) for n in tensors if n.startswith("encoder.down_blocks.")})
    for number in numbers:
        block = f"encoder.down_blocks.{number}."
        if f"{block}conv1.weight" in tensors:
            widths[-1].append(tensors[f"{block}conv1.weight"].shape[0])
        else:  # a downsampler ends the stage
            temporal.append(f"{block}time_conv.weight" in tensors)
            widths.append([])
    return {
        "base_dim": base,
        "z_dim": tensors["quant_conv.weight"].shape[0] // 2,
        "dim_mult": [stage[-1] // base for stage in widths],
        "num_res_blocks": len(widths[0]),
        "temperal_downsample": temporal,  # diffusers' spelling
    }


def _transformer_config(original: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """diffusers' settings from an original config; absent values follow from the tensors' shapes."""
    width, latents, *patch = tensors["patch_embedding.weight"].shape
    heads = int(original.get("num_heads", width // 128))  # all published sizes have heads of 128
    return {
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
    } | _control_config(tensors)


def _control_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    embedding = tensors.get("vace_patch_embedding.weight")
    return {} if embedding is None else {"vace_in_channels": embedding.shape[1]}


def _shards(home: Path) -> dict[Path, list[str]]:
    """List every safetensors file of a model with the names of its tensors."""
    index = home / f"{NAME}.safetensors.index.json"
    if index.exists():
        shards = sorted({home / file for file in files.read_json(index, _FOLDER)["weight_map"].values()})
    else:
        aside = {*ORIGINAL_VAE, "prompt_embeds.safetensors"}
        other = sorted(file for file in home.glob("*.safetensors") if file.name not in aside)
        named = home / f"{NAME}.safetensors"
        shards = [named] if named.exists() or not other else other
    names = {}
    for file in shards:
        if not file.exists():
            raise files.missing(file, _FOLDER, known=ORIGINAL_VAE)
        try:
            with safe_open(file, "pt") as opened:
                names[file] = list(opened.keys())
        except (SafetensorError, OSError) as error:
            raise files.damaged(file, error) from error
    return names


def _read(home: Path, shards: Mapping[Path, list[str]], wanted: Callable[[str], bool]) -> Tensors:
    tensors: Tensors = {}
    for file, names in shards.items():
        try:
            with safe_open(file, "pt") as opened:
                tensors |= {name: opened.get_tensor(name) for name in names if wanted(name)}
        except (SafetensorError, OSError) as error:
            raise files.damaged(file, error) from error
    return tensors


def _read_original_vae(folder: Path) -> Tensors:
    for file in (folder / name for name in ORIGINAL_VAE):
        if not file.exists():
            continue
        try:
            if file.suffix == ".safetensors":
                with safe_open(file, "pt") as opened:
                    return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            tensors: Tensors = torch.load(file, map_location="cpu", weights_only=True)
            return tensors
        except Exception as error:  # unpickling raises whatever the file makes it raise
            raise files.damaged(file, error) from error
    raise files.missing(folder / ORIGINAL_VAE[1], _FOLDER)


def _fill(model: Any, tensors: Tensors, home: Path) -> Any:
    """Load strictly; every parameter has to come from the file."""
    try:
        result = model.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError as error:
        raise _unfit(home, str(error)) from error
    if result.missing_keys or result.unexpected_keys:
        raise _unfit(home, f"missing {result.missing_keys[:8]}, unexpected {result.unexpected_keys[:8]}")
    return model.eval().requires_grad_(False)


def _unfit(home: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"Invalid tensors in {home}: they do not fit the model.",
        got=problem[:600],
        expected="every tensor of the kept blocks, and no other",
        fix="download the model again, or check that config.json belongs to these weights",
    )
