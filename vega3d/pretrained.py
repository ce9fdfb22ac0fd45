"""Methods of ``Vega3DAdapter`` that load and save it, by transformers' names.

Projector, fusion and LoRA are written; host and encoders are named.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from accelerate.utils import align_module_device, has_offloaded_params
from torch import Tensor, nn

from vega3d import checkpoint, registry
from vega3d.backbones import Backbone
from vega3d.checkpoint.host_digest import changed_weights, host_digest
from vega3d.checkpoint.lora import carried_lora, without_peft
from vega3d.config import HostConfig, Vega3DConfig
from vega3d.errors import CheckpointError
from vega3d.hosts.loading import DType
from vega3d.pico import PICO, PICO_DIR


class Pretrained(nn.Module):
    """Makes, loads and writes a model; expects ``self.vega3d_config``, ``projector`` and ``fusion``."""

    vega3d_config: Vega3DConfig
    host: Any
    trained: bool

    def __repr__(self) -> str:
        config = self.vega3d_config
        host, generator = config.host, registry.backbone_record(config.backbone)
        new = "trained" if self.trained else "untrained, so far the host's own answers"
        extra = {"streams": ", ".join(map(registry.backbone_name, config.semantic_streams))}
        rows = {
            "host": f"{_shown(host.path)} ({host.model_type}, width {host.hidden_size})",
            "generator": f"{generator['type']} {_shown(generator.get('path'))}",
            "mode": str(generator.get("mode", "frame")),
            **{name: value for name, value in extra.items() if value},
            "fusion": f"{config.fusion.type} ({new})",
            "runs on": f"{self.device}, {str(self.dtype).removeprefix('torch.')}",
        }
        return (
            "\n".join([f"{type(self).__name__}(", *(f"  {name}: {row}" for name, row in rows.items())]) + ")"
        )

    @classmethod
    def wrap(cls, host: nn.Module, config: Vega3DConfig | None = None) -> Self:
        """Wrap a loaded host and load the backbone and the semantic streams that ``config`` names.

        Raises:
            ConfigError: the config names no backbone, or a stream without a path.
        """
        from vega3d import pipeline

        return pipeline.assemble(pipeline.Source(config or Vega3DConfig()), cls, host=host)  # type: ignore[type-var]

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        host: nn.Module | None = None,
        backbone: Backbone | Literal["auto"] | None = "auto",
        revision: str | None = None,
        *,
        streams: Sequence[Backbone] | Literal["auto"] = "auto",
        dtype: DType = "auto",
        device_map: Any = None,
        attn_implementation: str | None = None,
        quantization_config: Any = None,
    ) -> Self:
        """Load projector and fusion from a folder or the hub, and the host with transformers' options.

        Args:
            path: folder written by ``save_pretrained``, or hub id.
            host: the host to wrap; None loads the one that the checkpoint names.
            backbone: ``auto`` loads the one that the checkpoint names; None leaves it out.
            revision: hub revision of ``path``.
            streams: the same for semantic streams; ``()`` leaves them out.
            dtype: precision of the host; ``auto`` is the one in which it was saved. Projector and fusion keep
                their own.
            device_map: devices of the host's parts, as for transformers. A host that is loaded with it, or
                quantized, is not moved afterwards.
            attn_implementation: attention of the host.
            quantization_config: transformers' settings of a quantized host.

        Raises:
            ConfigError: options of a host beside a host that is loaded already.
            CheckpointError: a file is missing, damaged, too new, or was trained on another host; the host has
                no weights (device ``meta``).
        """
        from vega3d import pipeline

        source = pipeline.saved(path, revision, given=host is not None)
        options = {"dtype": dtype, "device_map": device_map, "attention": attn_implementation}
        options |= {"host": host, "backbone": backbone, "streams": streams}
        return pipeline.assemble(source, cls, quantization=quantization_config, **options)  # type: ignore[type-var]

    def save_pretrained(
        self,
        path: str | os.PathLike[str],
        *,
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        """Write settings, projector, fusion, and the LoRA that the host carries to the folder ``path``.

        The host's processor is copied from its files; one that is in the folder already is kept.
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
        parts, lora = self.own_state(tensors), carried_lora(self, tensors)
        named = self.vega3d_config.host
        if changed := changed_weights(self.host, named.path, named.revision):
            names = ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "")
            warnings.warn(
                f"Weights of the host differ from {named.path!r}, which the checkpoint names, and are not "
                f"saved: {names}. To keep them, model.host.save_pretrained(FOLDER) with the host's "
                "processor, and wrap the host from there.",
                stacklevel=2,
            )
        host = checkpoint.trained_host(self.vega3d_config)
        checkpoint.save(path, self.vega3d_config, parts, lora=lora, host=host)

    def push_to_hub(self, repo: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload what ``save_pretrained`` writes; returns the commit's address.

        Raises:
            CheckpointError: the host was trained itself (``vega3d push`` uploads it), the hub cannot be
                reached, or what ``save_pretrained`` raises.
        """
        if checkpoint.trained_host(self.vega3d_config) is not None:
            title = "Cannot push this model: its host was trained, and the push would not include it."
            got = f"{self.vega3d_config.host.path} as the host"
            fix = f"model.save_pretrained(FOLDER), then vega3d push FOLDER {repo} --host ID_FOR_THE_HOST"
            raise CheckpointError(title, got=got, expected="a host that others can load", fix=fix)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return checkpoint.upload(repo, Path(folder), private=private, token=token)

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
            is_ours = name.startswith(("projector", "fusion")) or ".lora_" in name
            if is_ours and has_offloaded_params(module):
                with align_module_device(module, "cpu"):
                    tensors |= {f"{name}.{key}": value.clone() for key, value in module.state_dict().items()}
        return tensors


def _shown(path: str | None) -> str:
    """The name of a model for people."""
    shipped = path is not None and Path(path).parent == PICO_DIR
    return PICO if shipped else path or "built in memory"


def describe(host: Any, width: int) -> HostConfig:
    """Description of a host for a checkpoint."""
    path = str(getattr(host, "name_or_path", "")) or None
    revision = getattr(host.config, "_commit_hash", None)
    return HostConfig(path, revision, host.config.model_type, width, host_digest(path, revision))
