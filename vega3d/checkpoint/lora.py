"""LoRA of a host as a plain PEFT folder: written, read, put into a host and taken out of one.

The folder loads with PEFT alone on the bare host. This module has no settings of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vega3d._utils import files
from vega3d.checkpoint.tensors import read_tensors, write_tensors
from vega3d.errors import CheckpointError, DependencyError

ADAPTER_FILE, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."  # of PEFT's names for a bare host
OURS = ("projector", "fusion")  # parts of the wrapped model that are no parts of its host


@dataclass(frozen=True)
class Lora:
    """Tensors and settings of a PEFT folder.

    Attributes:
        tensors: by PEFT's names for the bare host.
        settings: PEFT's ``adapter_config.json``.
        folder: that it was read from; None if it was not.
    """

    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    folder: Path | None = None

    @classmethod
    def read(cls, folder: Path) -> Lora:
        """The content of a PEFT folder."""
        settings = files.read_json(folder / ADAPTER_CONFIG, "settings of PEFT")
        expected = f"a PEFT folder: {ADAPTER_FILE} and {ADAPTER_CONFIG}"
        return cls(read_tensors(folder / ADAPTER_FILE, expected), settings, folder)

    def write(self, folder: Path, host: str | None) -> None:
        """Write a PEFT folder.

        Args:
            folder: made if it is not there.
            host: name of the host.
        """
        folder.mkdir(exist_ok=True)
        settings = {**self.settings, "base_model_name_or_path": host, "inference_mode": True}
        plain = {name: sorted(value) if isinstance(value, set) else value for name, value in settings.items()}
        text = json.dumps(plain, indent=2, sort_keys=True, default=str) + "\n"
        write_tensors(folder / ADAPTER_FILE, self.tensors)
        files.write_whole(folder / ADAPTER_CONFIG, lambda part: part.write_text(text, encoding="utf-8"))


def carried_lora(model: Any, tensors: Mapping[str, Tensor]) -> Lora | None:
    """The adapter that a wrapped model's host carries; None if it carries none.

    Args:
        model: a wrapped model; its host may have loaded an adapter, or PEFT may stand around the model.
        tensors: the model's state dict.
    """
    holder = next((part for part in (model.host, model) if getattr(part, "peft_config", None)), None)
    if holder is None:
        return None
    if len(holder.peft_config) > 1:
        title = "Invalid host: it carries several adapters, and a checkpoint holds one."
        expected = "one adapter"
        fix = "model.host.delete_adapter(NAME) for the others, or PEFT's add_weighted_adapter"
        raise CheckpointError(title, got=", ".join(sorted(holder.peft_config)), expected=expected, fix=fix)
    name, config = next(iter(holder.peft_config.items()))
    of_host = _adapter_tensors(holder, name, tensors)
    settings = config.to_dict()
    copied = [part for part in settings.get("modules_to_save") or () if part not in OURS]
    settings["modules_to_save"] = copied or None  # ours are in the checkpoint itself
    return Lora({f"{PREFIX}{key}": tensor for key, tensor in of_host.items()}, settings)


def _adapter_tensors(holder: Any, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of an adapter by the host's own names.

    Args:
        holder: a host, or a wrapped model that PEFT stands around.
        name: of the adapter.
        tensors: state dict of the wrapped model.
    """
    from peft import get_peft_model_state_dict

    if hasattr(holder, "host"):
        return _of_host(get_peft_model_state_dict(holder, tensors, name, save_embedding_layers=False))
    return dict(get_peft_model_state_dict(holder, _of_host(tensors), name, save_embedding_layers=False))


def _of_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("host."): value for key, value in tensors.items() if key.startswith("host.")}


def without_peft(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Projector and fusion by their own names, as trained, whatever PEFT put around them."""
    adapted = sorted(name for name in tensors if ".base_layer." in name or ".lora_" in name)
    if adapted:
        title = "Invalid adapters in projector or fusion: a checkpoint holds whole weights of both."
        expected = "adapters in the host alone"
        fix = "merge_and_unload() of the PEFT model, or target_modules=adapter.family.lora_targets"
        raise CheckpointError(title, got=", ".join(adapted[:3]), expected=expected, fix=fix)
    return {
        re.sub(r"\.modules_to_save\.[^.]+", "", name): tensor
        for name, tensor in tensors.items()
        if ".original_module." not in name
    }


def load_lora(host: Any, lora: Lora | None) -> None:
    """Put a checkpoint's LoRA into a loaded host; None does nothing."""
    if lora is None:
        return
    try:
        host.load_adapter(str(lora.folder))
    except ImportError as error:
        title = f"Missing peft: the checkpoint holds LoRA, {lora.folder}."
        raise DependencyError(
            title, got=str(error), expected="peft", fix="pip install 'vega3d[train]'"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise _not_put_in(lora, reason) from error
    _require_put_in(host, lora)


def _require_put_in(host: nn.Module, lora: Lora) -> None:
    """transformers only logs names that differ, and an offloaded host drops what is copied into it."""
    state = {f"host.{name}": tensor for name, tensor in host.state_dict().items()}
    loaded = {f"{PREFIX}{name}": tensor for name, tensor in _adapter_tensors(host, "default", state).items()}
    parts = {
        "not in the host": sorted(set(lora.tensors) - set(loaded)),
        "not in the file": sorted(set(loaded) - set(lora.tensors)),
        "on the device meta": sorted(name for name, tensor in loaded.items() if tensor.is_meta),
    }
    if wrong := [f"{names[0]} {what}" for what, names in parts.items() if names]:
        raise _not_put_in(lora, ", ".join(wrong))


def _not_put_in(lora: Lora, got: str) -> CheckpointError:
    title = f"Cannot load the LoRA in {lora.folder} into the host."
    expected = "a PEFT folder of this host, put in once, before any weights are offloaded"
    fix = "pass a freshly loaded host, or load the checkpoint's own; offload with accelerate after loading"
    return CheckpointError(title, got=got, expected=expected, fix=fix)
