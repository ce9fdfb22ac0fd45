"""From settings or a checkpoint to a model, and back: what ``Vega3DAdapter`` has of transformers' way.

Only projector and fusion are kept; host and encoders are named. This module knows no forward pass.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from torch import Tensor, nn

from vega3d import checkpoint
from vega3d.backbones import Backbone
from vega3d.backbones.loading import load_backbone, load_streams
from vega3d.config import HostConfig, Vega3DConfig
from vega3d.errors import CheckpointError, ConfigError, DependencyError, HostError
from vega3d.hosts import family_of


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
            CheckpointError: a file is missing, damaged, too new, or was trained on another host.
        """
        config, tensors = checkpoint.load(path, revision)
        if host is None:
            checkpoint.require_own_host(path, config)
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
        """Write settings, projector and fusion (never host or backbone) to the folder ``path``.

        Args:
            path: folder; made if it is not there.
            is_main_process: only this process writes.
            state_dict: gathered tensors, where the module's own are sharded (ZeRO-3).
        """
        if is_main_process:
            checkpoint.save(path, self.vega3d_config, self.own_state(state_dict))

    def push_to_hub(self, repo: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload what ``save_pretrained`` writes; returns the commit's address."""
        return checkpoint.push(repo, self.vega3d_config, self.own_state(), private=private, token=token)

    def own_state(self, state_dict: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Tensors of projector and fusion, by name."""
        tensors = state_dict if state_dict is not None else self.state_dict()
        return {name: value for name, value in tensors.items() if name.startswith(("projector.", "fusion."))}


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


def load_lora(host: Any, folder: Path | None) -> None:
    """Put a checkpoint's LoRA into a loaded host; None does nothing.

    Raises:
        DependencyError: peft is not installed.
        CheckpointError: the folder cannot be read, or is of another host.
    """
    if folder is None:
        return
    try:
        host.load_adapter(str(folder))
    except ImportError as error:
        raise DependencyError(
            "The checkpoint holds LoRA.", got=str(error), expected="peft", fix="pip install 'vega3d[train]'"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"The LoRA in {folder} cannot be put into the host.",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            expected="a PEFT folder of this host, put in once",
            fix="pass a freshly loaded host, or load the one that the checkpoint names",
        ) from error


def describe(host: Any, width: int) -> HostConfig:
    """What a checkpoint says about a host."""
    path = str(getattr(host, "name_or_path", "")) or None
    return HostConfig(path, getattr(host.config, "_commit_hash", None), host.config.model_type, width)
