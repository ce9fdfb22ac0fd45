"""Checkpoints on disk: settings as JSON, projector and fusion as safetensors, LoRA as a plain PEFT folder.

This package alone has our file names. Hosts and backbones are named by id and revision, never
copied; a host that was trained itself lies in ``host/``. Each file is written beside its place and renamed
into it, the settings last. They hold a checksum of every trained file, so a process
that is killed between two files leaves an error and no mixture.

The format has a version of its own: a file of the same version may hold no unknown key, one of a newer minor
version may (with a warning), one of a newer major version is refused.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from filecmp import cmp
from functools import partial
from pathlib import Path
from shutil import copyfile, copytree, rmtree

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError
from torch import Tensor

from vega3d._utils import files, hub
from vega3d.checkpoint.lora import ADAPTER_CONFIG, ADAPTER_FILE, Lora
from vega3d.checkpoint.processor import MAIN_FILES, PROCESSOR_FILES, copy_processor, has_processor
from vega3d.checkpoint.record import (
    CARD_FILE,
    CHECKSUM,
    CONFIG_FILE,
    FILES,
    FOLDER,
    HOST_CONFIG,
    HOST_FOLDER,
    WEIGHTS_FILE,
    card,
    read_settings,
    require_file,
    write_settings,
)
from vega3d.checkpoint.tensors import read_tensors, require_real, write_tensors
from vega3d.config import HostConfig, Vega3DConfig
from vega3d.errors import CheckpointError
from vega3d.pico import PICO, pico_path

LORA_FOLDER = "lora"


def save(
    path: str | os.PathLike[str],
    config: Vega3DConfig,
    tensors: Mapping[str, Tensor],
    *,
    lora: Lora | None = None,
    host: Path | None = None,
    processor: Path | None = None,
) -> None:
    """Write one checkpoint folder, atomically file by file, the settings last.

    Args:
        path: folder; made if it is not there. LoRA of an earlier checkpoint in it is removed.
        config: settings.
        tensors: of projector and fusion.
        lora: of the host; it names the host of ``config``.
        host: folder of a trained host that belongs to the checkpoint; copied to ``host/`` unless that is it.
        processor: folder whose processor is copied; None takes the host's. One that is in ``path`` is kept.

    Raises:
        CheckpointError: ``path`` is a file, the folder cannot be written (a full disk, no permission), it
            holds a trained host of another checkpoint, or tensors are on the device ``meta``.
    """
    folder, names = Path(path), [WEIGHTS_FILE]
    require_real({**tensors, **(lora.tensors if lora is not None else {})})
    if host is None:
        _require_no_host(folder)
    elif host != folder / HOST_FOLDER:
        copied = dataclasses.replace(config.host, path=_copy_host(host, folder / HOST_FOLDER))
        config = dataclasses.replace(config, host=copied)
    with files.writing(folder, error=CheckpointError):
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / WEIGHTS_FILE, tensors)
        if lora is not None:
            lora.write(folder / LORA_FOLDER, config.host.path)
            names += [f"{LORA_FOLDER}/{name}" for name in (ADAPTER_FILE, ADAPTER_CONFIG)]
        if host is not None:
            names += [file.relative_to(folder).as_posix() for file in _files(folder / HOST_FOLDER)]
        if config.host.path != str((folder / HOST_FOLDER).absolute()):  # that one has its processor in it
            copy_processor(config.host, folder, processor)
        write_settings(folder, config, names)
        if lora is None and (folder / LORA_FOLDER).is_dir():
            rmtree(folder / LORA_FOLDER)
        if not (folder / CARD_FILE).exists():  # an edited card is kept
            text = card(config)
            files.write_whole(folder / CARD_FILE, lambda part: part.write_text(text, encoding="utf-8"))


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read from a folder.

    Attributes:
        folder: on this machine.
        config: settings.
        tensors: of projector and fusion.
        sums: checksums by file; None where the settings list none (before format 1.2, or removed by hand).
    """

    folder: Path
    config: Vega3DConfig
    tensors: dict[str, Tensor]
    sums: Mapping[str, str] | None

    def lora(self) -> Lora | None:
        """LoRA of the host, if it was trained with it."""
        folder = self.folder / LORA_FOLDER
        if self.sums is None:  # before format 1.2
            return Lora.read(folder) if folder.is_dir() else None
        if self._lists(LORA_FOLDER):
            self.require_files(f"{LORA_FOLDER}/")
            return Lora.read(folder)
        if any((folder / name).exists() for name in (ADAPTER_FILE, ADAPTER_CONFIG)):
            title = f"Invalid folder {folder}: not part of the checkpoint beside it."
            got = f"{LORA_FOLDER}/, which {CONFIG_FILE} does not list"
            fix = f'delete it; or, if it belongs to it, remove "{FILES}" and "{CHECKSUM}" from {CONFIG_FILE}'
            raise CheckpointError(title, got=got, expected="the files that were saved together", fix=fix)
        return None

    def require_own_host(self, *, given: bool = False) -> None:
        """Refuse a checkpoint whose host was trained in full and is not the one that is loaded.

        Args:
            given: the host comes from elsewhere; only tensors of a run (no host holds them) are refused then.
        """
        folder, named = self.folder / HOST_FOLDER, self.config.host.path
        is_there = folder.is_dir() or self._lists(HOST_FOLDER)
        is_whole = (folder / "config.json").is_file() or HOST_CONFIG in (self.sums or {})
        if is_there and not (is_whole and (given or named == str(folder.absolute()))):
            raise CheckpointError(
                f"Invalid checkpoint {self.folder}: it also holds tensors of a fully trained host.",
                got=f"{folder}, and {'another' if given else repr(named)} as the host",
                expected="a checkpoint that names the trained host",
                fix=f"vega3d export {self.folder} OUT, then load OUT",
            )
        if not given:
            self.require_files(f"{HOST_FOLDER}/")

    def require_files(self, prefix: str = "") -> None:
        """Check the files whose names start with ``prefix`` against their checksums."""
        for name, checksum in (self.sums or {}).items():
            if name.startswith(prefix):
                require_file(self.folder, name, checksum)

    def _lists(self, folder: str) -> bool:
        return any(name.startswith(f"{folder}/") for name in self.sums or {})


def load(path: str | os.PathLike[str], revision: str | None = None) -> Saved:
    """Read settings, projector and fusion of one checkpoint from a folder or the hub.

    Raises:
        CheckpointError: a file is missing, damaged, a pickle, or of a newer major format.
    """
    patterns = [WEIGHTS_FILE, f"{LORA_FOLDER}/*.json", f"{LORA_FOLDER}/*.safetensors"]
    folder = _folder_of(path, revision, patterns)
    config, sums = read_settings(folder)
    saved = Saved(folder, config, read_tensors(folder / WEIGHTS_FILE, FOLDER), sums)
    saved.require_files(WEIGHTS_FILE)
    return saved


def _folder_of(path: str | os.PathLike[str], revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder of a checkpoint; of one on the hub its settings, processor and ``patterns``."""
    patterns = [CONFIG_FILE, *PROCESSOR_FILES, *patterns]
    what, expected = "checkpoint", "a folder written by save_pretrained, or the id of one on the hub"
    return hub.find_folder(path, revision, patterns, error=CheckpointError, what=what, expected=expected)


def find_processor(
    path: str | os.PathLike[str], revision: str | None = None
) -> tuple[str, str | None, Vega3DConfig | None]:
    """The processor files that a name stands for.

    Args:
        path: ``pico``, a folder or hub id of a checkpoint, or of a plain host.
        revision: hub revision of ``path``.

    Returns:
        Path or hub id of the files, its revision, and the settings of the checkpoint; None for a plain host.

    Raises:
        CheckpointError: a checkpoint names no host and holds no processor, or is damaged.
    """
    if str(path) == PICO:
        return str(pico_path("host")), None, None
    if not is_ours(path):
        return str(path), revision, None
    folder = _folder_of(path, revision, [])
    config, _ = read_settings(folder)
    if has_processor(folder):
        return str(folder), None, config
    if config.host.path is None:
        title, fix = f"Missing processor in {path}.", "save the host's processor to it: save_pretrained"
        raise CheckpointError(title, got="a host built in memory", expected=MAIN_FILES[0], fix=fix)
    return config.host.path, config.host.revision, config


def is_ours(path: str | os.PathLike[str]) -> bool:
    """True if a folder or hub repository holds a vega3d checkpoint; False for a plain host."""
    if Path(path).is_dir():
        return (Path(path) / CONFIG_FILE).exists()
    try:
        hf_hub_download(str(path), CONFIG_FILE, local_files_only=hub.is_offline())
    except (EntryNotFoundError, HFValidationError, HfHubHTTPError, OSError):
        return False  # a host, or nothing that can be reached: loading it raises the error
    return True


def upload(repo: str, folder: Path, *, private: bool | None, token: str | None) -> str:
    """Upload a checkpoint's folder, or a host's; LoRA of an earlier checkpoint in the repository goes."""
    stale = f"{LORA_FOLDER}/*"
    return hub.upload(repo, folder, private=private, token=token, stale=stale, error=CheckpointError)


# ---------------------------------------------------------------- hosts


def require_same_host(saved: HostConfig, given: HostConfig) -> None:
    """Refuse a checkpoint that was trained on another host; warn where that cannot be found out."""
    title = f"Invalid host {given.path!r}: the checkpoint belongs to another host."
    if (saved.model_type, saved.hidden_size) != (given.model_type, given.hidden_size):
        got = f"a host of type {given.model_type!r}, width {given.hidden_size}"
        expected = f"type {saved.model_type!r}, width {saved.hidden_size} (it was {saved.path!r})"
        fix = "pass the host that it was trained on, or leave host out to load that one"
        raise CheckpointError(title, got=got, expected=expected, fix=fix)
    if saved.digest is None or given.digest is None:
        of = "host" if saved.digest is not None else "checkpoint"
        warnings.warn(
            f"The weights of the host {given.path!r} cannot be compared with those that the checkpoint was "
            f"trained on: the {of} has no digest of them (built in memory, quantised on disk, not in the "
            "cache, or saved before version 0.2). Type and width agree.",
            stacklevel=3,
        )
    elif saved.digest != given.digest:
        raise CheckpointError(
            title,
            got=f"other weights of the same type and width: {given.path!r}, digest {given.digest}",
            expected=f"digest {saved.digest} (it was {saved.path!r})",
            fix="pass the host that it was trained on; or, to use this one, "
            f'set host.digest to null and remove the key "{CHECKSUM}" in {CONFIG_FILE}',
        )


def trained_host(config: Vega3DConfig) -> Path | None:
    """The folder of a checkpoint's own host, if the settings name one; None for any other host."""
    folder = Path(config.host.path or "")
    if folder.name != HOST_FOLDER or not folder.is_absolute():
        return None
    if not folder.is_dir():
        title = "Cannot save the trained host of this model."
        expected = "the folder that it was loaded from"
        fix = "put the folder back, or model.host.save_pretrained(FOLDER) and load the host from there"
        raise CheckpointError(title, got=f"{folder}, which is gone", expected=expected, fix=fix)
    return folder if (folder.parent / CONFIG_FILE).is_file() else None


def _copy_host(source: Path, folder: Path) -> str:
    """Copy a trained host into the folder ``host/`` of another checkpoint, and return its path there."""
    if not (folder.is_dir() and _same_files(source, folder)):
        _require_no_host(folder.parent)
        with files.writing(folder, error=CheckpointError):
            copytree(source, folder, copy_function=_copy)
    return str(folder.absolute())


def _copy(file: str, copied: str) -> None:
    files.write_whole(Path(copied), partial(copyfile, file))


def _same_files(folder: Path, other: Path) -> bool:
    names, others = ([file.relative_to(path) for file in _files(path)] for path in (folder, other))
    return names == others and all(cmp(folder / name, other / name, shallow=False) for name in names)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _require_no_host(folder: Path) -> None:
    if (folder / HOST_FOLDER).is_dir():
        title = f"Cannot save to {folder}: it holds another checkpoint's trained host."
        fix = "save to another folder, or delete that one first"
        raise CheckpointError(title, got=f"{folder / HOST_FOLDER}", expected="a folder without it", fix=fix)
