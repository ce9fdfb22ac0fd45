"""Base of the built-in encoders: one device, one precision, one fixed micro-batch.

It is a plain object, not an ``nn.Module``: frozen, shared by copies of a model, in no state dict.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from vega3d.backbones.base import BackboneSpec, micro_batch

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


def dtype_name(dtype: torch.dtype | str) -> str:
    """Name of a dtype, as settings have it, from its name or torch's dtype."""
    return str(dtype).removeprefix("torch.")


def digest_of(parts: Iterable[Tensor | bytes]) -> str:
    """SHA-256 of tensors, byte for byte, and of names between them."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        total.update(part)
    return total.hexdigest()
