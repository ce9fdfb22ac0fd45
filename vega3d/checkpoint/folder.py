"""Checkpoints on disk: settings as JSON, projector and fusion as safetensors, LoRA as a plain PEFT folder.

This is the only module that has our file names. Hosts and backbones are named by id and revision, never
copied; a host that was trained itself lies in ``host/``. Each file is written beside its place and renamed
into it, the settings last. They hold a checksum of every file that belongs to the checkpoint, so a process
that is killed between two files leaves an error and no mixture.

The format has a version of its own: a file of the same version may hold no unknown key, one of a newer minor
version may (with a warning), one of a newer major version is refused.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from filecmp import cmp
from pathlib import Path
from shutil import copyfile, rmtree

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vega3d._utils import files, hub
from vega3d.checkpoint import checksums
from vega3d.checkpoint.card import card
from vega3d.checkpoint.lora import ADAPTER_CONFIG, ADAPTER_FILE, Lora
from vega3d.checkpoint.record import (
    CONFIG_FILE,
    FOLDER,
    HOST_CONFIG,
    HOST_FOLDER,
    WEIGHTS_FILE,
    config_of,
    json_text,
    read_record,
    record_of,
    sums_of,
)
from vega3d.config import HostConfig, Vega3DConfig
from vega3d.errors import CheckpointError

CARD_FILE = "README.md"
LORA_FOLDER = "lora"


def save(
    path: str | os.PathLike[str],
    config: Vega3DConfig,
    tensors: Mapping[str, Tensor],
    *,
    lora: Lora | None = None,
    host: bool = False,
) -> None:
    """Write one checkpoint folder, atomically file by file, the settings last.

    Args:
        path: folder; made if it is not there. LoRA of an earlier checkpoint in it is removed.
        config: settings.
        tensors: of projector and fusion.
        lora: of the host.
        host: ``host/`` in the folder belongs to the checkpoint and is written already.

    Raises:
        CheckpointError: ``path`` is a file, the folder cannot be written (a full disk, no permission), it
            holds a trained host of another checkpoint, or tensors are on the device ``meta``.
    """
    folder = Path(path)
    require_real({**tensors, **(lora.tensors if lora is not None else {})})
    if not host:
        _require_no_host(folder)
    with files.writing(folder, error=CheckpointError):
        folder.mkdir(parents=True, exist_ok=True)
        _write_tensors(folder / WEIGHTS_FILE, tensors)
        if lora is not None:
            lora.write(folder / LORA_FOLDER, error=CheckpointError)
        record = checksums.sealed(record_of(config, folder), folder, _parts(folder, lora is not None, host))
        files.write_whole(
            folder / CONFIG_FILE, lambda part: part.write_text(json_text(record), encoding="utf-8")
        )
        if lora is None and (folder / LORA_FOLDER).is_dir():
            rmtree(folder / LORA_FOLDER)
        if not (folder / CARD_FILE).exists():  # an edited card is kept
            files.write_whole(
                folder / CARD_FILE, lambda part: part.write_text(card(config), encoding="utf-8")
            )


def load(path: str | os.PathLike[str], revision: str | None = None) -> tuple[Vega3DConfig, dict[str, Tensor]]:
    """Read settings, projector and fusion of one checkpoint from a folder or the hub.

    Raises:
        CheckpointError: a file is missing, damaged, a pickle, or of a newer major format.
    """
    folder = _folder(path, revision)
    record = read_record(folder)
    config = config_of(record, folder / CONFIG_FILE)
    tensors = _read_tensors(folder / WEIGHTS_FILE)
    checksums.require_files(folder, sums_of(record) or {}, WEIGHTS_FILE)
    return config, tensors


def lora_of(path: str | os.PathLike[str], revision: str | None = None) -> Path | None:
    """The plain PEFT folder of a checkpoint, if the host was trained with LoRA.

    Raises:
        CheckpointError: a file is missing or damaged, or the folder is not part of the checkpoint.
    """
    root = _folder(path, revision)
    folder, sums = root / LORA_FOLDER, sums_of(read_record(root))
    if sums is None:  # before format 1.2
        return folder if folder.is_dir() else None
    if _has(sums, LORA_FOLDER):
        checksums.require_files(root, sums, f"{LORA_FOLDER}/")
        return folder
    if any((folder / name).exists() for name in (ADAPTER_FILE, ADAPTER_CONFIG)):
        raise CheckpointError(
            f"Invalid folder {folder}: not part of the checkpoint beside it.",
            got=f"{LORA_FOLDER}/, which {CONFIG_FILE} does not list",
            expected="the files that were saved together",
            fix=f"delete {LORA_FOLDER}/; or, if it belongs to it, remove "
            f'the keys "{checksums.FILES}" and "{checksums.CHECKSUM}" from {CONFIG_FILE}',
        )
    return None


def require_own_host(
    path: str | os.PathLike[str], config: Vega3DConfig, revision: str | None = None, *, given: bool = False
) -> None:
    """Refuse a checkpoint whose host was trained in full and is not the one that is loaded.

    Args:
        path: of the checkpoint.
        config: its settings.
        revision: hub revision of ``path``.
        given: the host comes from elsewhere; only tensors of a run, which no host holds, are refused then.

    Raises:
        CheckpointError: ``host/`` holds trained tensors that would not be loaded, or is damaged.
    """
    root = _folder(path, revision)
    folder, sums = root / HOST_FOLDER, sums_of(read_record(root)) or {}
    is_there = folder.is_dir() or _has(sums, HOST_FOLDER)
    is_whole = (folder / "config.json").is_file() or HOST_CONFIG in sums
    if is_there and not (is_whole and (given or config.host.path == str(folder.absolute()))):
        raise CheckpointError(
            f"Invalid checkpoint {path}: it also holds tensors of a fully trained host.",
            got=f"{folder}, and {'another' if given else repr(config.host.path)} as the host",
            expected="a checkpoint that names the trained host",
            fix=f"vega3d export {path} OUT, then load OUT",
        )
    if not given:
        checksums.require_files(root, sums, f"{HOST_FOLDER}/")


def require_parts(path: str | os.PathLike[str]) -> None:
    """Check every file of a checkpoint's folder against its checksum.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    folder = Path(path)
    checksums.require_files(folder, sums_of(read_record(folder)) or {})


def trained_host(config: Vega3DConfig) -> Path | None:
    """The folder of a checkpoint's own host, if the settings name one; None for any other host.

    Raises:
        CheckpointError: the folder is gone.
    """
    folder = Path(config.host.path or "")
    if folder.name != HOST_FOLDER or not folder.is_absolute():
        return None
    if not folder.is_dir():
        raise CheckpointError(
            "Cannot save the trained host of this model.",
            got=f"{folder}, which is gone",
            expected="the folder that it was loaded from",
            fix="put the folder back, or model.host.save_pretrained(FOLDER) and load the host from there",
        )
    return folder if (folder.parent / CONFIG_FILE).is_file() else None


def copy_host(source: Path, path: str | os.PathLike[str]) -> str:
    """Copy a trained host into another checkpoint's folder, and return its path there.

    Raises:
        CheckpointError: the folder cannot be written, or holds a trained host of another checkpoint.
    """
    folder = Path(path) / HOST_FOLDER
    if folder.is_dir() and _same_files(source, folder):
        return str(folder.absolute())
    _require_no_host(Path(path))
    with files.writing(folder, error=CheckpointError):
        for file in _files(source):
            copied = folder / file.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            files.write_whole(copied, lambda part, file=file: copyfile(file, part))  # type: ignore[misc]
    return str(folder.absolute())


def is_ours(path: str | os.PathLike[str]) -> bool:
    """True if a folder or hub repository holds a vega3d checkpoint; False for a plain host."""
    if Path(path).is_dir():
        return (Path(path) / CONFIG_FILE).exists()
    try:
        hf_hub_download(str(path), CONFIG_FILE)
    except (EntryNotFoundError, HFValidationError, HfHubHTTPError, OSError):
        return False  # a host, or nothing that can be reached: loading it raises the error
    return True


def push(
    repo: str,
    config: Vega3DConfig,
    tensors: Mapping[str, Tensor],
    *,
    lora: Lora | None = None,
    private: bool | None,
    token: str | None,
) -> str:
    """Upload a checkpoint to the hub as one commit; returns the commit's address.

    Raises:
        CheckpointError: the host was trained itself, the hub cannot be reached, or refuses.
    """
    if trained_host(config) is not None:
        raise CheckpointError(
            "Cannot push this model: its host was trained, and the push would not include it.",
            got=f"{config.host.path} as the host",
            expected="a host that others can load",
            fix=f"model.save_pretrained(FOLDER), then vega3d push FOLDER {repo} --host ID_FOR_THE_HOST",
        )
    with tempfile.TemporaryDirectory() as folder:
        save(folder, config, tensors, lora=lora)
        return upload(repo, Path(folder), private=private, token=token)


def upload(repo: str, folder: Path, *, private: bool | None, token: str | None) -> str:
    """Upload a checkpoint's folder, or a host's; LoRA of an earlier checkpoint in the repository goes.

    Raises:
        CheckpointError: the hub cannot be reached, or refuses.
    """
    return hub.upload(
        repo, folder, private=private, token=token, stale=f"{LORA_FOLDER}/*", error=CheckpointError
    )


def require_same_host(saved: HostConfig, given: HostConfig) -> None:
    """Refuse a checkpoint that was trained on another host; warn where that cannot be found out.

    Raises:
        CheckpointError: model type, width, or the digests of the weights differ.
    """
    if (saved.model_type, saved.hidden_size) != (given.model_type, given.hidden_size):
        raise _other_host(
            given,
            f"a host of type {given.model_type!r}, width {given.hidden_size}",
            f"type {saved.model_type!r}, width {saved.hidden_size} (it was {saved.path!r})",
            "pass the host that it was trained on, or leave host out to load that one",
        )
    if saved.digest is None or given.digest is None:
        of = "host" if saved.digest is not None else "checkpoint"
        warnings.warn(
            f"The weights of the host {given.path!r} cannot be compared with those that the checkpoint was "
            f"trained on: the {of} has no digest of them (built in memory, quantised on disk, not in the "
            "cache, or saved before version 0.2). Type and width agree.",
            stacklevel=3,
        )
    elif saved.digest != given.digest:
        raise _other_host(
            given,
            f"other weights of the same type and width: {given.path!r}, digest {given.digest}",
            f"digest {saved.digest} (it was {saved.path!r})",
            "pass the host that it was trained on; to use this one all the same, set host.digest to null and "
            f'remove the key "{checksums.CHECKSUM}" in {CONFIG_FILE}',
        )


def _other_host(given: HostConfig, got: str, expected: str, fix: str) -> CheckpointError:
    title = f"Invalid host {given.path!r}: the checkpoint belongs to another host."
    return CheckpointError(title, got=got, expected=expected, fix=fix)


def require_real(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors without data, which would swallow what is copied into them.

    Raises:
        CheckpointError: a tensor is on the device ``meta``.
    """
    names = sorted(name for name, tensor in tensors.items() if tensor.is_meta)
    if names:
        raise CheckpointError(
            f"Invalid tensor {names[0]!r}: it is on the device meta, which holds no data.",
            got=", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
            expected="tensors on a CPU or a GPU",
            fix="load the host with its weights (from_pretrained) before it is wrapped; "
            "accelerate's offloading is fine",
        )


def require_same_tensors(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that do not fill projector and fusion exactly.

    Raises:
        CheckpointError: a tensor is missing, unexpected, of another shape, or has no memory to be copied to.
    """
    require_real(expected)
    missing, unexpected = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    shapes = [n for n in expected if n in tensors and expected[n].shape != tensors[n].shape]
    if missing or unexpected or shapes:
        raise CheckpointError(
            "Invalid weights: their names or shapes are not those of the model.",
            got=f"missing {missing}, unexpected {unexpected}, other shape {shapes}",
            expected=", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in expected.items()),
            fix="use the vega3d_config.json that was saved with these weights",
        )


def _folder(path: str | os.PathLike[str], revision: str | None) -> Path:
    return hub.find_folder(
        path,
        revision,
        [CONFIG_FILE, WEIGHTS_FILE, f"{LORA_FOLDER}/*.json", f"{LORA_FOLDER}/*.safetensors"],
        error=CheckpointError,
        what="checkpoint",
        expected="a folder written by save_pretrained, or the id of one on the hub",
    )


def _has(sums: Mapping[str, str], folder: str) -> bool:
    return any(name.startswith(f"{folder}/") for name in sums)


def _same_files(folder: Path, other: Path) -> bool:
    names, others = ([file.relative_to(path) for file in _files(path)] for path in (folder, other))
    return names == others and all(cmp(folder / name, other / name, shallow=False) for name in names)


def _parts(folder: Path, lora: bool, host: bool) -> list[str]:
    """Files of a checkpoint, relative to its folder."""
    names = [WEIGHTS_FILE]
    if lora:
        names += [f"{LORA_FOLDER}/{name}" for name in (ADAPTER_FILE, ADAPTER_CONFIG)]
    if host:
        names += [file.relative_to(folder).as_posix() for file in _files(folder / HOST_FOLDER)]
    return names


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _require_no_host(folder: Path) -> None:
    if (folder / HOST_FOLDER).is_dir():
        raise CheckpointError(
            f"Cannot save to {folder}: it holds another checkpoint's trained host.",
            got=f"{folder / HOST_FOLDER}",
            expected="a folder without it",
            fix="save to another folder, or delete that one first",
        )


def _write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    files.write_whole(file, lambda part: save_file(copies, part, metadata={"format": "pt"}))


def _read_tensors(file: Path) -> dict[str, Tensor]:
    if not file.exists():
        raise files.missing(file, FOLDER)
    try:
        tensors: dict[str, Tensor] = load_file(file)
        return tensors
    except (SafetensorError, OSError) as error:
        raise files.damaged(file, error) from error
