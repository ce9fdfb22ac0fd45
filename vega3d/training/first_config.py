"""A first config for a user's own videos, pictures and questions.

The rows are read as training reads them, and the media have to be there, so that the file can be trained from
at once. Everything else is for ``vega3d validate``. This module opens no media.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vega3d._utils import files
from vega3d.data import Row
from vega3d.data.annotations import without_errors
from vega3d.data.conversations import SCHEME
from vega3d.errors import ConfigError, MediaNotFoundError
from vega3d.pico import PICO
from vega3d.training.config import DataFile, TrainConfig
from vega3d.training.dataset import reader_of

WAN = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
SHOWN = 3  # missing files that an error lists


@dataclass(frozen=True)
class FirstConfig:
    """Settings for a data set, and its size.

    Attributes:
        settings: plain values, in the order of the file.
        rows: number of rows.
        videos: number of distinct videos.
        images: number of distinct pictures.
    """

    settings: dict[str, Any]
    rows: int
    videos: int
    images: int


def first_config(
    media: str | os.PathLike[str],
    rows: str | os.PathLike[str],
    output_dir: str,
    model: str = PICO,
    backbone: str | None = None,
) -> FirstConfig:
    """Settings to train on the rows of a file.

    Args:
        media: folder that the rows' paths start from.
        rows: annotation file, as JSON or JSON lines.
        output_dir: folder of the run.
        model: ``pico``, or folder or hub id of a Qwen-VL.
        backbone: folder or hub id of a Wan; None takes pico's for pico, and Wan2.1 1.3B for others.

    Raises:
        InputError: a row cannot be understood.
        MediaNotFoundError: files of the rows are not in the folder.
        ConfigError: there are no rows.
    """
    entry = DataFile(file=os.fspath(rows), root=os.fspath(media))
    read = list(without_errors(reader_of(entry, {}).rows(Path(rows))))
    if not read:
        title, expected = f"Missing rows in {os.fspath(rows)!r}.", "at least one question with its answer"
        raise ConfigError(title, got="0 rows", expected=expected, fix="check the file")
    videos, images = (set(_sources(read, kind)) for kind in ("videos", "images"))
    _require_files([name for source in sorted(videos | images) for name in source], Path(media))
    settings: dict[str, Any] = {"model": _model(model, backbone), "recipe": "lora"}
    settings["data"] = [{"file": entry.file, "root": entry.root}]
    settings |= _tiny(output_dir) if model == PICO else _large(output_dir)
    TrainConfig.from_dict(settings)
    return FirstConfig(settings, len(read), len(videos), len(images))


def write_config(first: FirstConfig, path: str | os.PathLike[str], header: str) -> None:
    """Write settings as YAML.

    Args:
        first: the settings.
        path: file to write.
        header: first line, as a comment.

    Raises:
        ConfigError: the file exists.
    """
    file = Path(path)
    if file.exists():
        title = f"Cannot write {file}: it exists."
        raise ConfigError(
            title, got=str(file), expected="a new file", fix="choose another --out, or delete it"
        )
    text = f"# {header}\n" + yaml.safe_dump(first.settings, sort_keys=False, allow_unicode=True)
    files.write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))


def _sources(rows: list[Row], kind: str) -> Iterator[tuple[str, ...]]:
    """Paths of each medium; a list of frames is one video."""
    for row in rows:
        for request in getattr(row, kind):
            yield (request.source,) if isinstance(request.source, str) else tuple(request.source)


def _require_files(names: list[str], media: Path) -> None:
    paths = [name for name in names if not (SCHEME.match(name) or name.startswith("data:"))]
    missing = [name for name in paths if not Path(name).exists()]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        title = f"Missing media: {len(missing)} of {len(paths)} files do not exist."
        got, expected = ", ".join(missing[:SHOWN]) + more, f"paths that start from {media}"
        fix = "name the folder that the paths in the rows start from"
        raise MediaNotFoundError(title, got=got, expected=expected, fix=fix)


def _model(model: str, backbone: str | None) -> dict[str, Any]:
    if model == PICO:
        generator = {"path": backbone or PICO, "block": 11, "pixels": 16384}
        return {"host": model, "dtype": "float32", "backbone": generator}
    return {"host": model, "dtype": "bfloat16", "backbone": {"path": backbone or WAN, "dtype": "bfloat16"}}


def _tiny(output_dir: str) -> dict[str, Any]:
    """Settings for the shipped models, on a CPU."""
    trainer = {"num_train_epochs": 3, "learning_rate": 1e-3, "use_cpu": True}
    return _settings(output_dir, {"nframes": 8}, {"rank": 8, "alpha": 16}, trainer)


def _large(output_dir: str) -> dict[str, Any]:
    """Settings for a real model on one GPU; see configs/train/ for their reasons."""
    trainer = {"num_train_epochs": 1, "learning_rate": 1e-4, "gradient_accumulation_steps": 8}
    trainer |= {"bf16": True, "gradient_checkpointing": True}
    return _settings(output_dir, {"nframes": 8, "max_pixels": 451584}, {"rank": 64, "alpha": 64}, trainer)


def _settings(
    output_dir: str, sampling: dict[str, int], lora: dict[str, int], trainer: dict[str, Any]
) -> dict[str, Any]:
    first = {"output_dir": output_dir, "per_device_train_batch_size": 1}
    trainer = {
        **first,
        **trainer,
        "lr_scheduler_type": "cosine",
        "logging_steps": 1,
        "save_strategy": "epoch",
    }
    return {"sampling": sampling, "lora": lora, "trainer": trainer}
