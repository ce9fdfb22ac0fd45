"""Base of the built-in encoders: one device, one precision, one fixed micro-batch; weights from safetensors.

It is a plain object, not an ``nn.Module``: frozen, shared by copies of a model, in no state dict.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vega3d._utils import files
from vega3d.backbones.base import BackboneSpec, micro_batch
from vega3d.config import DType
from vega3d.errors import CheckpointError

Tensors = dict[str, Tensor]

Config = TypeVar("Config", bound=Any)


class FrozenEncoder:
    """A frozen encoder made of modules; a subclass sets ``config``, with its channels, and the modules."""

    name: ClassVar[str]
    config: Any
    modules: tuple[nn.Module, ...]
    patch_embedding: Any  # the module among them whose device and precision are those of the encoder

    @property
    def spec(self) -> BackboneSpec:
        """Name, width and settings."""
        return BackboneSpec(self.name, self.config.channels, self.config)

    @property
    def device(self) -> torch.device:
        """Device of the encoder."""
        device: torch.device = self.patch_embedding.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the encoder."""
        dtype: torch.dtype = self.patch_embedding.weight.dtype
        return dtype

    @property
    def micro_batch(self) -> int:
        """Items in one forward."""
        return micro_batch(self.config, self.device.type)

    def to(self, device: str | torch.device | None) -> Self:
        """Move to a device, in place; None takes a GPU if there is one."""
        for module in self.modules:
            module.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # frozen: copies of a model share it


def with_source(config: Config, path: str | Path, dtype: torch.dtype | str | None) -> Config:
    """Settings with the path of the weights, and with a precision unless it is None."""
    named = replace(config, path=str(path))
    return named if dtype is None else replace(named, dtype=dtype_name(dtype))


def dtype_name(dtype: torch.dtype | str) -> DType:
    """Name of a dtype, from its name or torch's dtype; settings refuse any but those that they accept."""
    return cast(DType, str(dtype).removeprefix("torch."))


def digest_of(parts: Iterable[Tensor | bytes]) -> str:
    """SHA-256 of tensors, byte for byte, and of names between them."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        total.update(part)
    return total.hexdigest()


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """Open a safetensors file, for ``keys`` and ``get_tensor``.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with safe_open(file, "pt") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        raise files.damaged(file, error) from error


def read(file: Path, is_wanted: Callable[[str], bool]) -> Tensors:
    """Read the tensors of a file whose names are wanted.

    Raises:
        CheckpointError: the file is damaged.
    """
    with opened(file) as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys() if is_wanted(name)}  # noqa: SIM118


def fill(model: Any, tensors: Tensors, folder: Path) -> Any:
    """Load tensors into a model and freeze it; every parameter has to come from the files.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of another shape.
    """
    try:
        result = model.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError as error:
        raise unfit(folder, str(error)) from error
    if result.missing_keys or result.unexpected_keys:
        raise unfit(folder, f"missing {result.missing_keys[:8]}, unexpected {result.unexpected_keys[:8]}")
    return model.eval().requires_grad_(False)


def unfit(folder: Path, problem: str) -> CheckpointError:
    """Error for tensors that are not those of the model that config.json describes."""
    title = f"Invalid tensors in {folder}: they do not fit the model."
    expected = "every tensor of the parts that are kept, in the shape given by config.json, and no other"
    fix = "download the model again, or check that config.json belongs to these weights"
    return CheckpointError(title, got=problem[:600], expected=expected, fix=fix)
