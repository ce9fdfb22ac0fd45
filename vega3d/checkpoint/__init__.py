"""Checkpoints on disk: their files, the host that they belong to, and the checks before they are used."""

from vega3d.checkpoint.folder import (
    CARD_FILE,
    HOST_FOLDER,
    LORA_FOLDER,
    copy_host,
    is_ours,
    load,
    lora_of,
    push,
    require_own_host,
    require_parts,
    require_real,
    require_same_host,
    require_same_tensors,
    save,
    trained_host,
    upload,
)
from vega3d.checkpoint.record import CONFIG_FILE, WEIGHTS_FILE

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "HOST_FOLDER",
    "LORA_FOLDER",
    "WEIGHTS_FILE",
    "copy_host",
    "is_ours",
    "load",
    "lora_of",
    "push",
    "require_own_host",
    "require_parts",
    "require_real",
    "require_same_host",
    "require_same_tensors",
    "save",
    "trained_host",
    "upload",
]
