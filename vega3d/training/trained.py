"""Trained tensors by name, in memory and on disk; frozen ones are never written.

A folder is a vega3d checkpoint (projector and fusion) that any ``from_pretrained`` reads at once; beside it
``lora/`` is a *plain* PEFT folder for the bare host, and ``host/`` holds what the recipe ``full`` changed.
PEFT's ``modules_to_save`` is not used: it would copy projector and fusion, and wrap those of further streams
twice. They are ordinary parameters that stay trainable.

This module does not depend on optimizers and trainers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn

from vega3d import checkpoint
from vega3d._utils import files
from vega3d.adapter import Vega3DAdapter
from vega3d.checkpoint.lora import PREFIX, Lora
from vega3d.checkpoint.record import HOST_FOLDER
from vega3d.checkpoint.tensors import read_tensors, require_same_tensors
from vega3d.errors import CheckpointError

WRAPPERS = ("module.", PREFIX)


@dataclass(frozen=True)
class Trained:
    """Trained tensors under the names of the folders that they go to.

    Attributes:
        own: projector and fusion, as ``vega3d_model.safetensors`` names them.
        lora: as PEFT names them for the bare host.
        host: the host's own, by its own module names.
    """

    own: dict[str, Tensor] = field(default_factory=dict)
    lora: dict[str, Tensor] = field(default_factory=dict)
    host: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, tensor: Tensor) -> None:
        """Sort in one tensor by its name in the model."""
        plain = plain_name(name)
        inner = plain.removeprefix("host.")
        if inner == plain:
            self.own[plain] = tensor
        elif ".lora_" in inner:
            self.lora[f"{PREFIX}{inner.replace('.default', '')}"] = tensor
        else:
            self.host[inner] = tensor


def plain_name(name: str) -> str:
    """A parameter's name in the adapter itself, whatever DDP, DeepSpeed and PEFT put around it."""
    while wrapper := next((prefix for prefix in WRAPPERS if name.startswith(prefix)), None):
        name = name.removeprefix(wrapper)
    return name.replace(".base_layer.", ".")


def adapter_of(model: Any) -> Vega3DAdapter:
    """The adapter inside DDP, DeepSpeed and PEFT."""
    while not isinstance(model, Vega3DAdapter):
        model = model.module if hasattr(model, "module") else model.get_base_model()
    return model


def trained_of(model: nn.Module, state_dict: Mapping[str, Tensor] | None = None) -> Trained:
    """All trainable tensors of a model.

    Args:
        model: an adapter, or PEFT around one.
        state_dict: gathered tensors, where the module's own are sharded (ZeRO-3); by any wrapped name.
    """
    gathered = {plain_name(name): tensor for name, tensor in (state_dict or {}).items()}
    trained = Trained()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            trained.add(name, gathered.get(plain_name(name), parameter).detach())
    return trained


def write_trained(
    path: str | os.PathLike[str], model: nn.Module, state_dict: Mapping[str, Tensor] | None = None
) -> None:
    """Write the trained tensors of a model to a folder.

    Args:
        path: folder; made if it is not there.
        model: an adapter, or PEFT around one.
        state_dict: see ``trained_of``.
    """
    folder, trained = Path(path), trained_of(model, state_dict)
    lora, host = None, None
    if trained.lora:
        settings = model.peft_config["default"].to_dict()  # type: ignore[index,union-attr]
        lora = Lora(trained.lora, {**settings, "modules_to_save": None})
    if trained.host:
        host = folder / HOST_FOLDER
        with files.writing(host, error=CheckpointError):
            host.mkdir(parents=True, exist_ok=True)
            copies = {name: tensor.to("cpu", copy=True) for name, tensor in trained.host.items()}
            save_torch_state_dict(copies, host)
    checkpoint.save(folder, adapter_of(model).vega3d_config, trained.own, lora=lora, host=host)


@torch.no_grad()
def read_trained(path: str | os.PathLike[str], model: nn.Module) -> None:
    """Give a model the trained tensors of a folder."""
    expected, saved = trained_of(model), load_trained(path)
    for part in ("own", "lora", "host"):
        ours, theirs = getattr(expected, part), getattr(saved, part)
        require_same_tensors(ours, theirs)
        for name, tensor in theirs.items():
            ours[name].copy_(tensor)  # shares memory with the parameter


def load_trained(path: str | os.PathLike[str]) -> Trained:
    """The tensors of a folder that ``write_trained`` wrote."""
    return trained_in(checkpoint.load(path))


def trained_in(saved: checkpoint.Saved) -> Trained:
    """All tensors of a checkpoint, with those of a host that was trained in full."""
    saved.require_files()
    lora = saved.lora()
    host: dict[str, Tensor] = {}
    for file in sorted((saved.folder / HOST_FOLDER).glob("*.safetensors")):
        host |= read_tensors(file, "tensors of a trained host")
    return Trained(saved.tensors, {} if lora is None else dict(lora.tensors), host)
