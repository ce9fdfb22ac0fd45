"""From a run's checkpoint to what others load: parts by their names, or one merged host.

``export`` splits: a vega3d checkpoint (projector and fusion), ``lora/`` as a plain PEFT folder for the bare
host, ``host/`` where the host itself was trained. ``merge`` adds LoRA's products to the host's weights, so
that one folder also serves programs without LoRA. Names are the host's own module names, without the
prefixes of DDP, PEFT or ZeRO-3. Each is checked against the model before anything is written.

This module does not depend on optimizers; a run's own state (optimizer, random numbers) is never copied.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)
from vega3d import checkpoint
from vega3d.checkpoint.host_digest import host_digest
from vega3d.checkpoint.lora import Lora
from vega3d.config import HostConfig, Vega3DConfig
from vega3d.errors import CheckpointError
from vega3d.hosts.loading import load_host
from vega3d.inputs.host_processor import load_host_processor
from vega3d.training.trained import HOST, load_trained


def export(run: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Write the parts of a checkpoint for others; returns ``out``.

    Args:
        run: a checkpoint of a run, or its folder ``final``.
        out: folder; made if it is not there.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors do not belong to the host.
    """
    source, folder = Path(run), Path(out)
    config, _ = checkpoint.load(source)
    trained = load_trained(source)
    if trained.host:
        host = load_host(config.host)
        _fill(host, trained.host)
        _save_host(host, str(config.host.path), folder / HOST)
        config = _with_host(config, folder)
    lora = checkpoint.lora_of(source)
    named = None if lora is None else Lora.read(lora).named(config.host.path)
    checkpoint.save(folder, config, trained.own, lora=named, host=bool(trained.host))
    return folder


def merge(run: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Write ``out/host`` with everything that was trained in it, and the checkpoint that belongs to it.

    Args:
        run: a checkpoint of a run, or an export.
        out: folder; made if it is not there.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors do not belong to the host.
    """
    source, folder = Path(run), Path(out)
    config, _ = checkpoint.load(source)
    trained = load_trained(source)
    host = load_host(config.host)
    _fill(host, trained.host)
    lora = checkpoint.lora_of(source)
    if lora is not None:
        merge_lora(host, trained.lora, Lora.read(lora).settings)
    _save_host(host, str(config.host.path), folder / HOST)
    checkpoint.save(folder, _with_host(config, folder), trained.own, host=True)
    return folder


@torch.no_grad()
def merge_lora(host: nn.Module, lora: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
    """Add B A * alpha / r to each adapted weight, in float32, rounded once.

    Args:
        host: the bare host.
        lora: as PEFT names them for it.
        settings: PEFT's ``r``, ``lora_alpha``, ``use_rslora``.

    Raises:
        CheckpointError: a weight is not the host's, or the settings are of another kind of adapter.
    """
    if settings.get("use_dora") or settings.get("rank_pattern") or settings.get("alpha_pattern"):
        raise _not_ours("an adapter with DoRA, or with ranks of its own for some layers", "plain LoRA")
    root = settings["r"] ** 0.5 if settings.get("use_rslora") else settings["r"]
    weights = dict(host.named_parameters())
    for name, down in lora.items():
        if not name.endswith(".lora_A.weight"):
            continue
        target = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
        up, weight = lora.get(name.replace(".lora_A.", ".lora_B.")), weights.get(target)
        if up is None or weight is None or weight.shape != (up.shape[0], down.shape[1]):
            raise _not_ours(f"{target}, {down.shape[1]} wide", "a weight of the host, of its shape")
        weight.copy_(
            weight.float() + (up.float() @ down.float()).to(weight.device) * (settings["lora_alpha"] / root)
        )


@torch.no_grad()
def _fill(host: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    weights = dict(host.named_parameters())
    for name, tensor in tensors.items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise _not_ours(f"{name} {tuple(tensor.shape)}", "a weight of the host, of its shape")
        weights[name].copy_(tensor)


def _save_host(host: Any, source: str, folder: Path) -> None:
    host.save_pretrained(folder)
    load_host_processor(source).save_pretrained(folder)


def _with_host(config: Vega3DConfig, folder: Path) -> Vega3DConfig:
    """The same settings with the host that lies beside them."""
    record = config.to_dict()
    path = str((folder / HOST).absolute())
    host = HostConfig(path, None, config.host.model_type, config.host.hidden_size, host_digest(path))
    return Vega3DConfig.from_dict(json.loads(json.dumps({**record, "host": vars(host)})))


def _not_ours(got: str, expected: str) -> CheckpointError:
    return CheckpointError(
        "Invalid trained tensors: they do not belong to this host.",
        got=got,
        expected=expected,
        fix="use the host that the run was trained on, and the same version of transformers",
    )
