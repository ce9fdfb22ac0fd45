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
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import SiglipVisionConfig, SiglipVisionModel

from vega3d._utils import files, hub
from vega3d.errors import BackboneError, CheckpointError

Kernel = Literal["bilinear", "bicubic"]

_KERNELS: dict[int, Kernel] = {2: "bilinear", 3: "bicubic"}  # PIL's numbers, as processors save them
_PATTERNS = ["config.json", "preprocessor_config.json", "*.safetensors"]
_FOLDER = "a folder with config.json and model.safetensors of a SiglipModel or a SiglipVisionModel"


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


def find_folder(path: str | Path, revision: str | None) -> Path:
    """Find a local folder, or download the needed files of a hub repository.

    Raises:
        BackboneError: neither exists.
    """
    expected = f"{_FOLDER}, or a hub id such as google/siglip-so400m-patch14-384"
    return hub.find_folder(path, revision, _PATTERNS, error=BackboneError, what="SigLIP", expected=expected)


def load_tower(folder: Path) -> Any:
    """Load transformers' ``SiglipVisionModel`` without its pooling head, frozen, in the file's precision.

    Raises:
        BackboneError: the folder holds another kind of model.
        CheckpointError: a file or tensor is missing, damaged, of another shape, or a pickle.
    """
    record = files.read_json(folder / "config.json", _FOLDER)
    kind = record.get("model_type")
    if kind not in ("siglip", "siglip_vision_model"):
        raise BackboneError(
            f"Invalid model in {folder}: not a SigLIP of a fixed picture size.",
            got=f"model_type {kind!r}",
            expected="'siglip' or 'siglip_vision_model' (fixed-size checkpoints of SigLIP 2 have these too)",
            fix="use for example google/siglip2-so400m-patch14-384 instead of a naflex checkpoint",
        )
    settings = record.get("vision_config", {}) if kind == "siglip" else record
    shape = SiglipVisionConfig.from_dict({**settings, "vision_use_head": False})
    with init_empty_weights(include_buffers=False):  # the positions' numbers are a buffer, and are needed
        tower = SiglipVisionModel(shape)
    wanted = set(tower.state_dict())
    tensors = {name: tensor for name, tensor in _read(folder).items() if name in wanted}
    try:
        missing = tower.load_state_dict(tensors, strict=False, assign=True).missing_keys
    except RuntimeError as error:
        raise _unfit(folder, str(error)) from error
    if missing:
        raise _unfit(folder, f"missing {missing[:8]}")
    return tower.eval().requires_grad_(False)


def load_preprocessing(folder: Path, side: int) -> Preprocessing:
    """Read ``preprocessor_config.json``, or take the defaults without it.

    Args:
        folder: of the checkpoint.
        side: pixels on one side of the tower's picture.

    Raises:
        CheckpointError: it has another picture size, or a kernel that is neither bilinear nor bicubic.
    """
    file = folder / "preprocessor_config.json"
    record = files.read_json(file, _FOLDER) if file.exists() else {}
    default = Preprocessing()
    size = record.get("size", side)
    sides = {int(size[name]) for name in size if size[name]} if isinstance(size, Mapping) else {int(size)}
    kernel = _KERNELS.get(int(record.get("resample", 3)))
    if sides != {side} or kernel is None:
        raise CheckpointError(
            f"Invalid preprocessing in {file}: it does not fit the tower.",
            got=f"size {size}, resample {record.get('resample')}",
            expected=f"a square of {side} pixels, resample 2 (bilinear) or 3 (bicubic)",
            fix="get the file that was published with these weights, or remove it to use SigLIP's defaults",
        )
    mean, std = (
        tuple(map(float, record.get(f"image_{name}", getattr(default, name)))) for name in ("mean", "std")
    )
    return Preprocessing(kernel, mean, std)


def _read(folder: Path) -> dict[str, Tensor]:
    """Tensors of the vision tower by its own names, from all shards."""
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise files.missing(folder / "model.safetensors", _FOLDER)
    tensors: dict[str, Tensor] = {}
    for file in shards:
        try:
            with safe_open(file, "pt") as opened:
                names = [name for name in opened.keys() if not name.startswith("text_model.")]  # noqa: SIM118
                tensors |= {name.rpartition("vision_model.")[2]: opened.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise files.damaged(file, error) from error
    return tensors


def _unfit(folder: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"Invalid tensors in {folder}: they do not fit the tower.",
        got=problem[:600],
        expected="every tensor of the vision tower, in the shape given by config.json",
        fix="download the model again, or check that config.json belongs to these weights",
    )
