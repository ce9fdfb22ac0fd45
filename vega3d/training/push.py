"""Put what was trained on the hub, so that anybody can load it by its id.

A checkpoint names its host. A folder of this machine is of no use to others, so it is refused without the id
under which they find the host. A host that was trained itself is uploaded there, into its own repository.
What is uploaded is an export: never an optimizer's state, never a frozen tensor.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

from vega3d import checkpoint
from vega3d.checkpoint.card import card
from vega3d.checkpoint.lora import Lora
from vega3d.config import Vega3DConfig
from vega3d.errors import CheckpointError
from vega3d.pico import PICO, pico_path
from vega3d.training.export import export
from vega3d.training.trained import HOST


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
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(source).absolute()
        if not _has_own_host(folder):
            folder = export(source, Path(temporary) / "export")
        config, name = _named(checkpoint.load(folder)[0], host)
        commits = []
        if _has_own_host(folder):
            commits.append(checkpoint.upload(name, folder / HOST, private=private, token=token))
        pushed = Path(temporary) / "pushed"
        _write(folder, pushed, config, name)
        _keep_card(Path(source), pushed)
        commits.append(checkpoint.upload(repo, pushed, private=private, token=token))
    return commits


def _has_own_host(folder: Path) -> bool:
    """True if the checkpoint names the whole host that lies in it."""
    return checkpoint.load(folder)[0].host.path == str(folder / HOST)


def _named(config: Vega3DConfig, host: str | None) -> tuple[Vega3DConfig, str]:
    """Settings whose host others find too, and its name."""
    path = str(config.host.path)
    if host is not None:
        return dataclasses.replace(config, host=dataclasses.replace(config.host, path=host)), host
    if path == str(pico_path("host")):
        return config, PICO
    if Path(path).is_dir():
        raise CheckpointError(
            f"Invalid host {path}: others cannot load a folder of this machine.",
            got="a folder",
            expected="the id of a repository on the hub",
            fix="pass --host ID, under which others find this host; a trained host is uploaded there",
        )
    return config, path


def _write(source: Path, folder: Path, config: Vega3DConfig, host: str) -> None:
    """The checkpoint without its host, under the host's public name."""
    _, tensors = checkpoint.load(source)
    lora = checkpoint.lora_of(source)
    checkpoint.save(folder, config, tensors, lora=None if lora is None else Lora.read(lora).named(host))


def _keep_card(source: Path, folder: Path) -> None:
    """Keep a card that was edited by hand; a generated one is generated again."""
    file = source / checkpoint.CARD_FILE
    if file.exists() and file.read_text("utf-8") != card(checkpoint.load(source)[0]):
        (folder / checkpoint.CARD_FILE).write_bytes(file.read_bytes())
