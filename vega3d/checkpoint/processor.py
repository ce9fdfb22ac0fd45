"""The host's processor beside a checkpoint: its files, copied as they are.

They name the host's own class, so that transformers and other tools read them. ``Vega3DProcessor`` adds the
generator's clips to what that class makes.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from shutil import copyfile

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from vega3d._utils import files
from vega3d.config import HostConfig
from vega3d.pico import PICO, pico_path

MAIN_FILES = ("processor_config.json", "preprocessor_config.json")
"""Files of which a folder with a processor has at least one."""
PROCESSOR_FILES = (
    *MAIN_FILES,
    *("video_preprocessor_config.json", "chat_template.jinja", "chat_template.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    *("special_tokens_map.json", "added_tokens.json"),
)


def has_processor(folder: str | os.PathLike[str]) -> bool:
    """True if a folder holds the files of a processor."""
    return any((Path(folder) / name).is_file() for name in MAIN_FILES)


def copy_processor(host: HostConfig, folder: Path, source: Path | None = None) -> None:
    """Copy a processor into a folder, unless one is there already, which may have been changed by hand.

    Args:
        host: its processor is copied from its folder or from the hub's cache; nothing is downloaded.
        folder: of the checkpoint.
        source: another folder to copy from; ignored if it has no processor.
    """
    if has_processor(folder):
        return
    path = Path(source) if source is not None and has_processor(source) else None
    for name in PROCESSOR_FILES:
        file = path / name if path is not None else _file_of(host, name)
        if file is not None and file.is_file():
            files.write_whole(folder / name, partial(copyfile, file))


def _file_of(host: HostConfig, name: str) -> Path | None:
    """A file of a host on this machine; None if it is not there."""
    if not host.path:
        return None
    folder = pico_path("host") if host.path == PICO else Path(host.path)
    if folder.is_dir():
        return folder / name
    try:
        cached = try_to_load_from_cache(host.path, name, revision=host.revision)
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None
