"""From a run's checkpoint to what others load: parts by their names, one merged host, or a hub repository.

``export`` splits: a vega3d checkpoint (projector and fusion), ``lora/`` as a plain PEFT folder for the bare
host, ``host/`` where the host itself was trained. ``merge`` adds LoRA's products to the host's weights, so
that one folder also serves programs without LoRA. Names are the host's own module names, without the
prefixes of DDP, PEFT or ZeRO-3. Each is checked against the model before anything is written.

``push`` uploads an export, so that anybody can load it by its id. A checkpoint names its host. A folder of
this machine is of no use to others, so it is refused without the id under which they find the host. A host
that was trained itself is uploaded there, into its own repository.

This module does not depend on optimizers; a run's own state (optimizer, random numbers) is never copied.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)
from vega3d import checkpoint
from vega3d._utils import files
from vega3d.checkpoint.host_digest import host_digest
from vega3d.checkpoint.record import CARD_FILE, HOST_FOLDER, card, card_facts, is_generated
from vega3d.config import HostConfig, Vega3DConfig
from vega3d.errors import CheckpointError
from vega3d.hosts.loading import load_host
from vega3d.inputs.host_processor import load_host_processor
from vega3d.pico import PICO, pico_path
from vega3d.training.trained import trained_in


def export(run: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Write the parts of a checkpoint for others; returns ``out``.

    Args:
        run: a checkpoint of a run, or its folder ``final``.
        out: folder; made if it is not there.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors do not belong to the host.
    """
    return _write(run, Path(out), merged=False)


def merge(run: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Write ``out/host`` with everything that was trained in it, and the checkpoint that belongs to it.

    Args:
        run: a checkpoint of a run, or an export.
        out: folder; made if it is not there.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors do not belong to the host.
    """
    return _write(run, Path(out), merged=True)


def _write(run: str | os.PathLike[str], folder: Path, *, merged: bool) -> Path:
    saved = checkpoint.load(run)
    trained, lora, config, place = trained_in(saved), saved.lora(), saved.config, None
    if merged or trained.host:
        host: Any = load_host(config.host)
        _fill(host, trained.host)
        if merged and lora is not None:
            merge_lora(host, lora.tensors, lora.settings)
        place = folder / HOST_FOLDER
        host.save_pretrained(place)
        load_host_processor(str(config.host.path)).save_pretrained(place)
        path = str(place.absolute())
        beside = HostConfig(path, None, config.host.model_type, config.host.hidden_size, host_digest(path))
        config = dataclasses.replace(config, host=beside)
    lora = None if merged else lora
    checkpoint.save(folder, config, trained.own, lora=lora, host=place, processor=saved.folder)
    _carry_card(saved, folder)
    return folder


def _carry_card(given: checkpoint.Saved, folder: Path, name: str | None = None) -> None:
    """Give a folder the card of the checkpoint that it was made from; an edited card in the folder stays.

    Args:
        given: the checkpoint.
        folder: made from it.
        name: under which others load the folder; None keeps the name of the card.
    """
    source, target, config = given.folder / CARD_FILE, folder / CARD_FILE, checkpoint.load(folder).config
    if not source.exists() or not is_generated(target.read_text("utf-8"), config):
        return
    text = source.read_text("utf-8")
    if is_generated(text, given.config):  # made anew, with the host that the folder names
        facts = card_facts(text)
        text = card(config, dataclasses.replace(facts, name=name or facts.name))
    files.write_whole(target, lambda part: part.write_text(text, encoding="utf-8"))


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


def _not_ours(got: str, expected: str) -> CheckpointError:
    title = "Invalid trained tensors: they do not belong to this host."
    fix = "use the host that the run was trained on, and the same version of transformers"
    return CheckpointError(title, got=got, expected=expected, fix=fix)


# ---------------------------------------------------------------- the hub


def push(
    source: str | os.PathLike[str],
    repo: str,
    *,
    host: str | None = None,
    private: bool | None = None,
    token: str | None = None,
) -> list[str]:
    """Upload a checkpoint, and its host if that was trained.

    Args:
        source: a checkpoint of a run, its folder ``final``, or what ``export`` or ``merge`` wrote.
        repo: id of the repository for projector, fusion and LoRA; made if it is not there.
        host: id under which others find the host; needed if the checkpoint names a folder.
        private: of repositories that are made.
        token: of the hub; None takes the one of ``hf auth login``.

    Returns:
        Addresses of the commits, the host's first.

    Raises:
        CheckpointError: the host is a folder that others cannot load, a file is damaged, or the hub refuses.
    """
    given = saved = checkpoint.load(Path(source).absolute())
    with tempfile.TemporaryDirectory() as temporary:
        if not _has_own_host(saved):
            saved = checkpoint.load(export(source, Path(temporary) / "export"))
        config, commits = _public(saved.config, host), []
        if _has_own_host(saved):
            trained, name = saved.folder / HOST_FOLDER, str(config.host.path)
            commits.append(checkpoint.upload(name, trained, private=private, token=token))
        folder = Path(temporary) / "pushed"
        checkpoint.save(folder, config, saved.tensors, lora=saved.lora(), processor=saved.folder)
        _carry_card(given, folder, repo)
        commits.append(checkpoint.upload(repo, folder, private=private, token=token))
    return commits


def _has_own_host(saved: checkpoint.Saved) -> bool:
    """True if a checkpoint names the whole host that lies in it."""
    return saved.config.host.path == str(saved.folder / HOST_FOLDER)


def _public(config: Vega3DConfig, host: str | None) -> Vega3DConfig:
    """Settings whose host others find too."""
    path = str(config.host.path)
    if host is None and path == str(pico_path("host")):
        host = PICO
    if host is None and Path(path).is_dir():
        title = f"Invalid host {path}: others cannot load a folder of this machine."
        fix = "pass --host ID, under which others find this host; a trained host is uploaded there"
        raise CheckpointError(title, got="a folder", expected="the id of a repository on the hub", fix=fix)
    return dataclasses.replace(config, host=dataclasses.replace(config.host, path=host or path))
