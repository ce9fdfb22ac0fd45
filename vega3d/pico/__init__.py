"""Paths of the embedded default models ("pico").

Decision: this module gives *paths* only. The folders are ordinary `from_pretrained` folders of stock classes,
and are loaded like any other model. Nothing here imports torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vega3d.errors import CheckpointError, unknown_choice

PICO_DIR = Path(__file__).resolve().parent
"""Folder that holds the embedded models: ``host/`` (Qwen2.5-VL) and ``wan/`` (diffusers layout)."""

PICO = "pico"
"""The name of the embedded models on the command line and in saved settings."""

_PARTS = {"host": "config.json", "wan": "transformer/config.json"}


def pico_path(part: Literal["host", "wan"]) -> Path:
    """Folder of one embedded model, checked to be there.

    ``host`` is a transformers folder (model and processor), ``wan`` a diffusers one (transformer, vae).
    """
    if part not in _PARTS:
        raise unknown_choice("part of pico", part, _PARTS)
    folder = PICO_DIR / part
    if not (folder / _PARTS[part]).is_file():
        raise CheckpointError(
            f"Missing pico {part} model in this installation.",
            got=str(folder),
            expected=f"a folder with {_PARTS[part]}",
            fix="reinstall vega3d, or build it again: train/pico/host.py, train/pico/wan.py",
        )
    return folder


__all__ = ["PICO", "PICO_DIR", "pico_path"]
