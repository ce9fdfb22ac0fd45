"""From settings or a checkpoint to a model, and back: what ``Vega3DAdapter`` has of transformers' way.

Projector, fusion and LoRA are kept; host and encoders are named. This module has no forward pass.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

from accelerate.utils import align_module_device, has_offloaded_params
from torch import Tensor, nn

from vega3d import checkpoint
from vega3d.backbones import Backbone
from vega3d.backbones.loading import load_backbone, load_streams
from vega3d.config import HostConfig, Vega3DConfig
from vega3d.errors import ConfigError, HostError
from vega3d.host_digest import changed_weights, host_digest
from vega3d.hosts import family_of
from vega3d.lora import carried_lora, load_lora, without_peft


class Pretrained(nn.Module):
    """Makes, loads and writes a model; expects ``self.vega3d_config``, ``projector`` and ``fusion``."""

    vega3d_config: Vega3DConfig

    @classmethod
    def wrap(cls, host: nn.Module, config: Vega3DConfig | None = None) -> Self:
        """Wrap a loaded host and load the backbone and the semantic streams that ``config`` names.

        Raises:
            ConfigError: the config names no backbone, or a stream without a path.
        """
        config = config or Vega3DConfig()
        return cls(host, config, load_backbone(config), load_streams(config))

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        host: nn.Module | None = None,
        backbone: Backbone | Literal["auto"] | None = "auto",
        revision: str | None = None,
        *,
        streams: Sequence[Backbone] | Literal["auto"] = "auto",
    ) -> Self:
        """Load projector and fusion from a folder or the hub.

        Args:
            path: folder written by ``save_pretrained``, or hub id.
            host: the host to wrap; None loads the one that the checkpoint names.
            backbone: ``auto`` loads the one that the checkpoint names; None leaves it out.
            revision: hub revision of ``path``.
            streams: the same for semantic streams; ``()`` leaves them out.

        Raises:
            CheckpointError: a file is missing, damaged, too new, or was trained on another host; the host has
                no weights (device ``meta``).
        """
        config, tensors = checkpoint.load(path, revision)
        checkpoint.require_own_host(path, config, revision, given=host is not None)
        if host is None:
            host = load_host(config.host)
        checkpoint.require_same_host(config.host, describe(host, family_of(host).width(host.config)))
        adapter = cls(
            host,
            config,
            load_backbone(config) if backbone == "auto" else backbone,
            load_streams(config) if streams == "auto" else streams,
        )
        checkpoint.require_same_tensors(adapter.own_state(), tensors)
        adapter.load_state_dict(tensors, strict=False)  # the host's tensors are not in the file
        load_lora(adapter.host, checkpoint.lora_of(path, revision))
        return adapter

    def save_pretrained(
        self,
        path: str | os.PathLike[str],
        *,
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        """Write settings, projector, fusion, and the LoRA that the host carries to the folder ``path``.

        A host that was trained itself (``export``, ``merge``) is copied from the folder that it was loaded
        from. Any other host is named; its weights in memory, and those of the backbone, are not written. If
        they are not those of its files (trained, or merged with LoRA), a warning says so.

        Args:
            path: folder; made if it is not there. LoRA of an earlier checkpoint in it is removed.
            is_main_process: only this process writes.
            state_dict: gathered tensors, where the module's own are sharded (ZeRO-3).

        Raises:
            CheckpointError: the folder cannot be written or holds another checkpoint's trained host, the
                host carries several adapters, or tensors are on the device ``meta``.
        """
        if not is_main_process:
            return
        tensors = self._all_state() if state_dict is None else state_dict
        own, lora = self.own_state(tensors), carried_lora(self, tensors)
        checkpoint.require_real(own)
        _warn_of_changed_host(self)
        config, host = self.vega3d_config, checkpoint.trained_host(self.vega3d_config)
        if host is not None:
            named = dataclasses.replace(config.host, path=checkpoint.copy_host(host, path))
            config = dataclasses.replace(config, host=named)
        lora = None if lora is None else lora.named(config.host.path)
        checkpoint.save(path, config, own, lora=lora, host=host is not None)

    def push_to_hub(self, repo: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload what ``save_pretrained`` writes; returns the commit's address.

        Raises:
            CheckpointError: the host was trained itself (``vega3d push`` uploads it), the hub cannot be
                reached, or what ``save_pretrained`` raises.
        """
        tensors = self._all_state()
        own, lora = self.own_state(tensors), carried_lora(self, tensors)
        _warn_of_changed_host(self)
        return checkpoint.push(repo, self.vega3d_config, own, lora=lora, private=private, token=token)

    def own_state(self, state_dict: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Tensors of projector and fusion, by name.

        Raises:
            CheckpointError: PEFT put adapters into them.
        """
        tensors = state_dict if state_dict is not None else self.state_dict()
        own = {name: value for name, value in tensors.items() if name.startswith(("projector.", "fusion."))}
        return without_peft(own)

    def _all_state(self) -> dict[str, Tensor]:
        """The state dict; what a checkpoint needs of it comes to the CPU if accelerate keeps it elsewhere."""
        tensors: dict[str, Tensor] = self.state_dict()
        for name, module in self.named_modules():
            if (name.startswith(("projector", "fusion")) or ".lora_" in name) and has_offloaded_params(
                module
            ):
                with align_module_device(module, "cpu"):
                    tensors |= {f"{name}.{key}": value.clone() for key, value in module.state_dict().items()}
        return tensors


def _warn_of_changed_host(model: Any) -> None:
    named = model.vega3d_config.host
    changed = changed_weights(model.host, named.path, named.revision)
    if changed:
        names = ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "")
        warnings.warn(
            f"Weights of the host differ from {named.path!r}, which the checkpoint names, and are not saved: "
            f"{names}. To keep them, model.host.save_pretrained(FOLDER) with the host's processor, and wrap "
            "the host from there.",
            stacklevel=3,
        )


def load_host(host: HostConfig) -> nn.Module:
    """The host that a checkpoint names, in its own precision."""
    from transformers import AutoModelForImageTextToText

    if not host.path:
        raise ConfigError(
            "The checkpoint names no host.",
            got="host.path is empty: it was built in memory",
            expected="a folder or a hub id",
            fix="load the host and pass it as host=...",
        )
    try:
        model: nn.Module = AutoModelForImageTextToText.from_pretrained(
            host.path, revision=host.revision, dtype="auto"
        )
    except OSError as error:
        raise HostError(
            f"The host {host.path!r} cannot be loaded.",
            got=str(error).splitlines()[0],
            expected="a folder or hub id of a Qwen-VL",
            fix="check the spelling; offline, download it first and pass the folder",
        ) from error
    return model


def describe(host: Any, width: int) -> HostConfig:
    """What a checkpoint says about a host."""
    path = str(getattr(host, "name_or_path", "")) or None
    revision = getattr(host.config, "_commit_hash", None)
    return HostConfig(path, revision, host.config.model_type, width, host_digest(path, revision))
