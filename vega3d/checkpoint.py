"""What vega3d writes to disk and reads back: settings as JSON, projector and fusion as safetensors.

This is the only module that knows our file names. Hosts and backbones are named by id and revision,
never copied. Files are written beside their place and renamed into it, so a killed process leaves either the
old checkpoint or the new one. The format has a version of its own: a file of the same version may hold
no unknown key, one of a newer minor version may (with a warning), one of a newer major version is refused.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vega3d import files, hub
from vega3d._version import __version__
from vega3d.config import HostConfig, Vega3DConfig
from vega3d.errors import CheckpointError, ConfigError
from vega3d.pico import PICO, PICO_DIR

CONFIG_FILE = "vega3d_config.json"
WEIGHTS_FILE = "vega3d_model.safetensors"
CARD_FILE = "README.md"
LORA_FOLDER, HOST_FOLDER = "lora", "host"  # beside them, where the host was trained too
_PICO = {"host": "host", "wan": "backbone"}
FORMAT = (1, 1)  # major, minor; 1.1 added modes, pictures, draws, shortcuts and semantic streams
_FOLDER = f"a folder written by save_pretrained: {CONFIG_FILE} and {WEIGHTS_FILE}"


def save(path: str | os.PathLike[str], config: Vega3DConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write one checkpoint folder, atomically file by file, weights first.

    Raises:
        CheckpointError: ``path`` is a file, or the folder cannot be written (a full disk, no right to).
    """
    folder = Path(path)
    own_format = {"format": f"{FORMAT[0]}.{FORMAT[1]}", "vega3d_version": __version__}
    record = {**own_format, **_with_pico(config.to_dict(), by_name=True)}
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with files.writing(folder, error=CheckpointError):
        folder.mkdir(parents=True, exist_ok=True)
        files.write_whole(folder / WEIGHTS_FILE, lambda part: save_file(own, part, metadata={"format": "pt"}))
        files.write_whole(folder / CONFIG_FILE, lambda part: part.write_text(_json(record), encoding="utf-8"))
        if not (folder / CARD_FILE).exists():  # a card that somebody edited is theirs
            files.write_whole(
                folder / CARD_FILE, lambda part: part.write_text(card(config), encoding="utf-8")
            )


def load(path: str | os.PathLike[str], revision: str | None = None) -> tuple[Vega3DConfig, dict[str, Tensor]]:
    """Read one checkpoint from a folder or the hub.

    Raises:
        CheckpointError: a file is missing, damaged, a pickle, or of a newer major format.
    """
    folder = _folder(path, revision)
    record = files.read_json(folder / CONFIG_FILE, _FOLDER)
    config = _config(_with_pico(record, by_name=False), folder / CONFIG_FILE)
    return config, _read_tensors(folder / WEIGHTS_FILE)


def lora_of(path: str | os.PathLike[str], revision: str | None = None) -> Path | None:
    """The plain PEFT folder of a checkpoint, if the host was trained with LoRA."""
    folder = _folder(path, revision) / LORA_FOLDER
    return folder if folder.is_dir() else None


def require_own_host(path: str | os.PathLike[str], config: Vega3DConfig) -> None:
    """Refuse a checkpoint whose host was trained in full and is not the one that it names.

    Raises:
        CheckpointError: the folder ``host`` holds trained tensors that nobody would load.
    """
    folder = Path(path) / HOST_FOLDER
    if folder.is_dir() and config.host.path != str(folder.absolute()):
        raise CheckpointError(
            "The checkpoint also holds tensors of a fully trained host.",
            got=f"{folder}, and {config.host.path!r} as the host",
            expected="a checkpoint that names the trained host",
            fix=f"vega3d export {path} OUT, then load OUT",
        )


def is_ours(path: str | os.PathLike[str]) -> bool:
    """Whether a folder or hub repository holds a vega3d checkpoint; False for a plain host."""
    if Path(path).is_dir():
        return (Path(path) / CONFIG_FILE).exists()
    try:
        hf_hub_download(str(path), CONFIG_FILE)
    except (EntryNotFoundError, HFValidationError, HfHubHTTPError, OSError):
        return False  # a host, or nothing that can be reached: whoever loads it next says so
    return True


def push(
    repo: str, config: Vega3DConfig, tensors: Mapping[str, Tensor], *, private: bool | None, token: str | None
) -> str:
    """Upload a checkpoint to the hub as one commit; returns the commit's address.

    Raises:
        CheckpointError: the hub cannot be reached, or refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        save(folder, config, tensors)
        return upload(repo, Path(folder), private=private, token=token)


def upload(repo: str, folder: Path, *, private: bool | None, token: str | None) -> str:
    """Upload a whole folder to the hub as one commit; returns the commit's address.

    Raises:
        CheckpointError: the hub cannot be reached, or refuses.
    """
    api = HfApi(token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload vega3d")
    except Exception as error:  # the hub's client lets its network library's own errors through
        raise CheckpointError(
            f"The checkpoint could not be pushed to {repo!r}.",
            got=f"{type(error).__name__}: {error}",
            expected="a hub that can be reached, and the right to write there",
            fix="check the network and `hf auth login`, or keep it with save_pretrained(folder)",
        ) from error
    return str(commit.commit_url)


def require_same_host(saved: HostConfig, given: HostConfig) -> None:
    """Refuse a checkpoint that was trained on another kind of host.

    Raises:
        CheckpointError: model type or width differ.
    """
    if (saved.model_type, saved.hidden_size) != (given.model_type, given.hidden_size):
        raise CheckpointError(
            "The checkpoint belongs to another host.",
            got=f"a host of type {given.model_type!r}, width {given.hidden_size}",
            expected=f"type {saved.model_type!r}, width {saved.hidden_size} (it was {saved.path!r})",
            fix="pass the host that it was trained on, or leave host out to load that one",
        )


def require_same_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse weights that do not fill projector and fusion exactly.

    Raises:
        CheckpointError: a tensor is missing, unexpected, or of another shape.
    """
    missing, unexpected = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    shapes = [n for n in expected if n in found and expected[n].shape != found[n].shape]
    if missing or unexpected or shapes:
        raise CheckpointError(
            "The weights do not fit projector and fusion.",
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


def _with_pico(record: dict[str, Any], *, by_name: bool) -> dict[str, Any]:
    """The shipped models are written by name: where they lie differs from one installation to the next."""
    changed = dict(record)
    for part, section in _PICO.items():
        given, place = record.get(section), str(PICO_DIR / part)
        before, after = (place, PICO) if by_name else (PICO, place)
        if isinstance(given, dict) and given.get("path") == before:
            changed[section] = {**given, "path": after}
    return changed


def _config(record: dict[str, Any], file: Path) -> Vega3DConfig:
    version = _version(record.pop("format", None), file)
    record.pop("vega3d_version", None)
    ignored: list[str] | None = [] if version > FORMAT else None
    try:
        config = Vega3DConfig.from_dict(record, ignored)
    except (ConfigError, TypeError) as error:
        raise CheckpointError(
            f"{file.name} cannot be understood.",
            got=str(error),
            expected=f"the keys of format {FORMAT[0]}.{FORMAT[1]}",
            fix="correct the file, or save the checkpoint again",
        ) from error
    if ignored:
        warnings.warn(
            f"{file} is of the newer format {version[0]}.{version[1]}; unknown keys are ignored: "
            f"{', '.join(ignored)}. `pip install -U vega3d` reads them.",
            stacklevel=4,
        )
    return config


def _version(text: object, file: Path) -> tuple[int, int]:
    try:
        major, minor = (int(part) for part in str(text).split("."))
    except ValueError:
        raise CheckpointError(
            f"{file.name} does not say its format.",
            got=f"format = {text!r}",
            expected=f"'major.minor', for example '{FORMAT[0]}.{FORMAT[1]}'",
            fix="was this file written by vega3d? Save the checkpoint again",
        ) from None
    if major > FORMAT[0]:
        raise CheckpointError(
            f"{file} is of a newer format.",
            got=f"format {major}.{minor}, written by a newer vega3d",
            expected=f"format {FORMAT[0]}.x",
            fix="pip install -U vega3d",
        )
    return major, minor


def _read_tensors(file: Path) -> dict[str, Tensor]:
    if not file.exists():
        raise files.missing(file, _FOLDER)
    try:
        tensors: dict[str, Tensor] = load_file(file)
        return tensors
    except (SafetensorError, OSError) as error:
        raise files.damaged(file, error) from error


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=2, sort_keys=True) + "\n"


def card(config: Vega3DConfig) -> str:
    """The model card that ``save`` writes where there is none."""
    record = _with_pico(config.to_dict(), by_name=True)
    host, backbone = record["host"]["path"], record["backbone"].get("path")
    further = "".join(
        f" and `{stream.path or 'a stream built in memory'}`" for stream in config.semantic_streams
    )
    base = f"\nbase_model: {host}" if host and host != PICO and not Path(host).is_dir() else ""
    return f"""---
library_name: vega3d
tags: [vega3d, spatial-reasoning, {config.host.model_type}]{base}
---

# Projector and fusion of a vega3d model

These are the trained parts only. They belong to the host `{host or config.host.model_type}` and to features
of `{backbone or "a backbone built in memory"}`{further}; none of them is copied here.

```python
from vega3d import Vega3DAdapter

model = Vega3DAdapter.from_pretrained("this repository or folder")
```

Fusion: `{config.fusion.type}`. All settings: `{CONFIG_FILE}`. What it was trained on, and how well it
does, is for its trainer to say here.
"""
