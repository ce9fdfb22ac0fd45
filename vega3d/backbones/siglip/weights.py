"""A SigLIP vision tower and its preprocessing, from disk or hub.

Two layouts are supported: a whole ``SiglipModel``, of which only the vision tower is read, and a
``SiglipVisionModel`` alone. Both give the same tensors in transformers' own class. Pickle files are not read.
A checkpoint without preprocessing gets SigLIP's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from accelerate import init_empty_weights
from transformers import SiglipVisionConfig, SiglipVisionModel

from vega3d._utils import files
from vega3d.backbones.frozen import Tensors, fill, read
from vega3d.errors import BackboneError, CheckpointError

Kernel = Literal["bilinear", "bicubic"]

_KERNELS: dict[int, Kernel] = {2: "bilinear", 3: "bicubic"}  # PIL's numbers, as processors save them
PATTERNS = ["config.json", "preprocessor_config.json", "*.safetensors"]
LAYOUTS = "a folder or hub id of a SiglipModel or SiglipVisionModel: config.json and model.safetensors"


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of a frame; the defaults are those of SigLIP's processor.

    Attributes:
        kernel: kernel of the antialiased resize. SigLIP was published with bicubic, SigLIP 2 with bilinear.
        mean: of each channel, for values in [0, 1].
        std: of each channel.
    """

    kernel: Kernel = "bicubic"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)


def load_tower(folder: Path) -> Any:
    """Load transformers' ``SiglipVisionModel`` without its pooling head, frozen, in the file's precision.

    Raises:
        BackboneError: the folder holds another kind of model.
        CheckpointError: a file or tensor is missing, damaged, of another shape, or a pickle.
    """
    record = files.read_json(folder / "config.json", LAYOUTS)
    kind = record.get("model_type")
    if kind not in ("siglip", "siglip_vision_model"):
        title = f"Invalid model in {folder}: not a SigLIP of a fixed picture size."
        expected = "'siglip' or 'siglip_vision_model' (fixed-size checkpoints of SigLIP 2 have these too)"
        fix = "use for example google/siglip2-so400m-patch14-384 instead of a naflex checkpoint"
        raise BackboneError(title, got=f"model_type {kind!r}", expected=expected, fix=fix)
    settings = record.get("vision_config", {}) if kind == "siglip" else record
    shape = SiglipVisionConfig.from_dict({**settings, "vision_use_head": False})
    with init_empty_weights(include_buffers=False):  # the positions' numbers are a buffer, and are needed
        tower = SiglipVisionModel(shape)
    wanted = set(tower.state_dict())
    return fill(tower, {name: tensor for name, tensor in _tensors(folder).items() if name in wanted}, folder)


def load_preprocessing(folder: Path, side: int) -> Preprocessing:
    """Read ``preprocessor_config.json``, or take the defaults without it.

    Args:
        folder: of the checkpoint.
        side: pixels on one side of the tower's picture.

    Raises:
        CheckpointError: it has another picture size, or a kernel that is neither bilinear nor bicubic.
    """
    file = folder / "preprocessor_config.json"
    record = files.read_json(file, LAYOUTS) if file.exists() else {}
    default = Preprocessing()
    size = record.get("size", side)
    sides = {int(size[name]) for name in size if size[name]} if isinstance(size, Mapping) else {int(size)}
    kernel = _KERNELS.get(int(record.get("resample", 3)))
    if sides != {side} or kernel is None:
        title, got = f"Invalid preprocessing in {file}: it does not fit the tower.", record.get("resample")
        expected = f"a square of {side} pixels, resample 2 (bilinear) or 3 (bicubic)"
        fix = "get the file that was published with these weights, or remove it to use SigLIP's defaults"
        raise CheckpointError(title, got=f"size {size}, resample {got}", expected=expected, fix=fix)
    mean, std = (
        tuple(map(float, record.get(f"image_{name}", getattr(default, name)))) for name in ("mean", "std")
    )
    return Preprocessing(kernel, mean, std)


def _tensors(folder: Path) -> Tensors:
    """Tensors of the vision tower by its own names, from all shards."""
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise files.missing(folder / "model.safetensors", LAYOUTS)
    return {
        name.rpartition("vision_model.")[2]: tensor
        for file in shards
        for name, tensor in read(file, lambda name: not name.startswith("text_model.")).items()
    }
