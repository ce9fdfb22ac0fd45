"""The settings of a checkpoint as a file: its format, its version, and the checksums of the other files.

``vega3d_config.json`` names the files that belong to the checkpoint under ``files``, each with its checksum.
Its own content, independent of spaces and the order of keys, is summed under ``checksum``. Removing that key
is the way to edit the file by hand: it then loads with a warning, and the next save writes a new one.

Paths that differ from one machine to the next are written by name: the shipped models, and a host that lies
beside the file. This module reads and writes JSON and the model card; it does not depend on tensors.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vega3d._utils import files
from vega3d._version import __version__
from vega3d.config import Vega3DConfig
from vega3d.errors import CheckpointError, ConfigError
from vega3d.pico import PICO, PICO_DIR

CONFIG_FILE, WEIGHTS_FILE = "vega3d_config.json", "vega3d_model.safetensors"
CARD_FILE, HOST_FOLDER = "README.md", "host"
HOST_CONFIG = f"{HOST_FOLDER}/config.json"  # listed where host/ is a whole host, not tensors of a run
FOLDER = f"a folder written by save_pretrained: {CONFIG_FILE} and {WEIGHTS_FILE}"
CHECKSUM, FILES = "checksum", "files"
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


def write_settings(folder: Path, config: Vega3DConfig, names: Iterable[str]) -> None:
    """Write settings; a host beside them is named by its place, so the folder can move.

    Args:
        folder: of the checkpoint.
        config: settings.
        names: of files that belong to it, relative to ``folder``, with ``/``; they are on disk already.
    """
    record = with_pico(config.to_dict(), by_name=True)
    if config.host.path == str((folder / HOST_FOLDER).absolute()):
        record["host"] = {**record["host"], "path": HOST_FOLDER}
    record |= {"format": f"{FORMAT[0]}.{FORMAT[1]}", "vega3d_version": __version__}
    record[FILES] = {name: files.digest(folder / name) for name in sorted(names)}
    text = json.dumps({**record, CHECKSUM: _checksum(record)}, indent=2, sort_keys=True) + "\n"
    files.write_whole(folder / CONFIG_FILE, lambda part: part.write_text(text, encoding="utf-8"))


def read_settings(folder: Path) -> tuple[Vega3DConfig, dict[str, str] | None]:
    """Read settings; a wrong key or value is reported as such before the checksum is.

    Returns:
        The settings, and the checksums by file; None where nothing is listed (before format 1.2, or removed
        by hand).
    """
    file = folder / CONFIG_FILE
    record = files.read_json(file, FOLDER)
    if not isinstance(record, dict):
        raise files.damaged(file, TypeError(f"{type(record).__name__}, not an object of JSON"))
    version = _version(record.get("format"), file)
    ignored: list[str] | None = [] if version > FORMAT else None
    try:
        config = Vega3DConfig.from_dict(_settings_of(record, folder), ignored)
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        got, expected = str(error), f"the keys of format {FORMAT[0]}.{FORMAT[1]}"
        fix = "correct the file, or save the checkpoint again"
        raise CheckpointError(f"Invalid settings in {file}.", got=got, expected=expected, fix=fix) from error
    if ignored:
        warnings.warn(
            f"{file} is of the newer format {version[0]}.{version[1]}; unknown keys are ignored: "
            f"{', '.join(ignored)}. `pip install -U vega3d` reads them.",
            stacklevel=4,
        )
    if version >= SUMS or CHECKSUM in record:
        _require_checksum(record, file)
    return config, record.get(FILES)


def _settings_of(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The settings of a file without the keys that describe the file itself."""
    about = ("format", "vega3d_version", FILES, CHECKSUM)
    settings = {name: value for name, value in with_pico(record, by_name=False).items() if name not in about}
    host = settings.get("host") or {}
    if HOST_CONFIG in (record.get(FILES) or {}) and host.get("path") == HOST_FOLDER:
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
        got, expected = f"format {major}.{minor}, written by a newer vega3d", f"format {FORMAT[0]}.x"
        title = f"Unknown format {major}.{minor} of {file}."
        raise CheckpointError(title, got=got, expected=expected, fix="pip install -U vega3d")
    return major, minor


def _checksum(record: Mapping[str, Any]) -> str:
    return files.content_digest({name: value for name, value in record.items() if name != CHECKSUM})


def _require_checksum(record: Mapping[str, Any], file: Path) -> None:
    """Refuse settings that are not as they were saved; warn if they have no checksum."""
    if CHECKSUM not in record:
        warnings.warn(
            f"{file} has no checksum, so damage to it is not detected. Saving the checkpoint writes one.",
            stacklevel=5,
        )
    elif record[CHECKSUM] != _checksum(record):
        title = f"Invalid settings {file}: their checksum differs."
        expected = f"sum {record[CHECKSUM]}, as it was saved"
        fix = f'if you edited it, remove the key "{CHECKSUM}" from it; otherwise get the file again'
        raise CheckpointError(title, got=f"a content of sum {_checksum(record)}", expected=expected, fix=fix)


def require_file(folder: Path, name: str, checksum: str) -> None:
    """Refuse a file of a checkpoint that is not as it was saved."""
    file = folder / name
    try:
        digest = files.digest(file)
    except FileNotFoundError:
        raise files.missing(file, f"{name}, which belongs to the checkpoint") from None
    except OSError as error:
        raise files.damaged(file, error) from error
    if digest != checksum:
        title = f"Invalid file {file}: its checksum differs."
        expected = f"sum {checksum}, as it was saved"
        fix = f'get the file again; if it is yours, remove it from "{FILES}" and remove the key "{CHECKSUM}"'
        raise CheckpointError(title, got=f"a file of sum {digest}", expected=expected, fix=fix)


# ---------------------------------------------------------------- the model card


@dataclass(frozen=True)
class CardFacts:
    """Content of a card that the settings do not hold.

    Attributes:
        license: of the trained tensors: an id of the hub.
        training: Markdown from the heading ``Training`` to the end; empty for a model that no run trained.
        name: under which others load it.
    """

    license: str = "other"
    training: str = ""
    name: str = "this repository or folder"


TRAINING = "## Training\n"
_NAME = re.compile(r'vega3d\.load\("(.*)"\)')
_LICENSE = re.compile(r"^license: (.+)$", re.MULTILINE)


def card(config: Vega3DConfig, facts: CardFacts | None = None) -> str:
    """The text of a card, in Markdown; ``card_facts`` reads its facts back."""
    facts = facts or CardFacts()
    record = with_pico(config.to_dict(), by_name=True)
    host, backbone = record["host"]["path"], record["backbone"].get("path")
    further = "".join(
        f" and `{stream.path or 'a stream built in memory'}`" for stream in config.semantic_streams
    )
    base = f"\nbase_model: {host}" if host and host != PICO and not Path(host).is_dir() else ""
    return f"""---
library_name: vega3d
license: {facts.license}
pipeline_tag: image-text-to-text
tags: [vega3d, spatial-reasoning, {config.host.model_type}]{base}
---

# Projector and fusion of a vega3d model

These are the trained parts only. They belong to the host `{host or config.host.model_type}` and to features
of `{backbone or "a backbone built in memory"}`{further}; none of them is copied here.

```python
import vega3d

model = vega3d.load("{facts.name}")
print(model.ask("video.mp4", "How many chairs are there?").text)
```

`vega3d.Vega3DAdapter.from_pretrained` loads the model without its processor. Fusion: `{config.fusion.type}`.
All settings: `{CONFIG_FILE}`. The licenses of the host, the generator and the training data apply, too.

{facts.training or UNTRAINED}"""


UNTRAINED = "The training and the results are for its trainer to describe here.\n"


def card_facts(text: str) -> CardFacts:
    """The facts of a card that ``card`` wrote; of any other text their defaults."""
    license_id, name = _LICENSE.search(text), _NAME.search(text)
    place = text.find(TRAINING)
    plain = CardFacts()
    return CardFacts(
        license_id[1] if license_id else plain.license,
        text[place:] if place >= 0 else plain.training,
        name[1] if name else plain.name,
    )


def is_generated(text: str, config: Vega3DConfig) -> bool:
    """True if ``card`` wrote a text for these settings; edits below the heading ``Training`` are ignored."""
    return text == card(config, card_facts(text))
