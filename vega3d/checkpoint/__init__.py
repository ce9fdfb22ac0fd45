"""Checkpoints on disk: their files, the host that they belong to, and the checks before they are used."""

from vega3d.checkpoint.folder import (
    Saved,
    find_processor,
    is_ours,
    load,
    require_same_host,
    save,
    trained_host,
    upload,
)
from vega3d.checkpoint.processor import has_processor
from vega3d.checkpoint.tensors import require_same_tensors

__all__ = [
    "Saved",
    "find_processor",
    "has_processor",
    "is_ours",
    "load",
    "require_same_host",
    "require_same_tensors",
    "save",
    "trained_host",
    "upload",
]
