"""The settings of a checkpoint as a file: its format, its version, and its statements about other files.

Paths that differ from one machine to the next are written by name: the shipped models, and a host that lies
beside the file. This module reads and writes JSON; it does not depend on tensors.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vega3d._utils import files
from vega3d._version import __version__
from vega3d.checkpoint import checksums
from vega3d.config import Vega3DConfig
from vega3d.errors import CheckpointError, ConfigError
from vega3d.pico import PICO, PICO_DIR

CONFIG_FILE, WEIGHTS_FILE = "vega3d_config.json", "vega3d_model.safetensors"
HOST_FOLDER = "host"
HOST_CONFIG = f"{HOST_FOLDER}/config.json"  # listed where host/ is a whole host, not tensors of a run
FOLDER = f"a folder written by save_pretrained: {CONFIG_FILE} and {WEIGHTS_FILE}"
_PICO = {"host": "host", "wan": "backbone"}
# major, minor; 1.1 added modes, pictures, draws, shortcuts and semantic streams; 1.2 checksums, host.digest;
# 1.3 renamed settings of Wan (extra_frames, max_latent_frames, resize, noise_samples, residual_dtype)
FORMAT = (1, 3)
SUMS = (1, 2)  # since this format


def with_pico(record: Mapping[str, Any], *, by_name: bool) -> dict[str, Any]:
    """Name the shipped models in place of their paths, which differ from one installation to the next."""
    changed = dict(record)
    for part, section in _PICO.items():
        given, path = record.get(section), str(PICO_DIR / part)
        before, after = (path, PICO) if by_name else (PICO, path)
        if isinstance(given, dict) and given.get("path") == before:
            changed[section] = {**given, "path": after}
    return changed


def read_record(folder: Path) -> dict[str, Any]:
    """The content of a checkpoint's settings, as it stands in the file.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    file = folder / CONFIG_FILE
    record = files.read_json(file, FOLDER)
    if not isinstance(record, dict):
        raise files.damaged(file, TypeError(f"{type(record).__name__}, not an object of JSON"))
    return record


def sums_of(record: Mapping[str, Any]) -> dict[str, str] | None:
    """Checksums by file; None where nothing is listed (before format 1.2, or removed by hand)."""
    sums: dict[str, str] | None = record.get(checksums.FILES)
    return sums


def record_of(config: Vega3DConfig, folder: Path) -> dict[str, Any]:
    """Settings as they are written; a host beside them is named by its place, so the folder can move."""
    record = with_pico(config.to_dict(), by_name=True)
    if config.host.path == str((folder / HOST_FOLDER).absolute()):
        record["host"] = {**record["host"], "path": HOST_FOLDER}
    return {"format": f"{FORMAT[0]}.{FORMAT[1]}", "vega3d_version": __version__, **record}


def config_of(record: Mapping[str, Any], file: Path) -> Vega3DConfig:
    """Settings as they were saved; a wrong key or value is reported as such before the checksum is.

    Raises:
        CheckpointError: a key is unknown, a value is invalid, the checksum differs, or the format is too new.
    """
    version = _version(record.get("format"), file)
    ignored: list[str] | None = [] if version > FORMAT else None
    try:
        config = Vega3DConfig.from_dict(_settings_of(record, file.parent), ignored)
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"Invalid settings in {file}.",
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
    if version >= SUMS or checksums.CHECKSUM in record:
        checksums.require_settings(record, file)
    return config


def _settings_of(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The settings of a file without the keys that describe the file itself."""
    about = ("format", "vega3d_version", checksums.FILES, checksums.CHECKSUM)
    settings = {name: value for name, value in with_pico(record, by_name=False).items() if name not in about}
    host = settings.get("host") or {}
    if HOST_CONFIG in (sums_of(record) or {}) and host.get("path") == HOST_FOLDER:
        settings["host"] = {**host, "path": str((folder / HOST_FOLDER).absolute())}
    return settings


def _version(text: object, file: Path) -> tuple[int, int]:
    try:
        major, minor = (int(part) for part in str(text).split("."))
    except ValueError:
        raise CheckpointError(
            f"Invalid format of {file.name}: {text!r}.",
            got=f"format = {text!r}",
            expected=f"'major.minor', for example '{FORMAT[0]}.{FORMAT[1]}'",
            fix="check that vega3d wrote this file, or save the checkpoint again",
        ) from None
    if major > FORMAT[0]:
        raise CheckpointError(
            f"Unknown format {major}.{minor} of {file}.",
            got=f"format {major}.{minor}, written by a newer vega3d",
            expected=f"format {FORMAT[0]}.x",
            fix="pip install -U vega3d",
        )
    return major, minor


def json_text(record: Mapping[str, Any]) -> str:
    """Settings as the text of a file."""
    return json.dumps(record, indent=2, sort_keys=True) + "\n"
