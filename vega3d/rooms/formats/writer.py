"""Scenes on disk, whatever the layout: which seeds, complete or not, in many processes, in order.

Decision: a scene is complete when its JSON exists, and the JSON is written last; so a killed export resumes
by skipping complete scenes. Scenes are independent, so processes share nothing and any number of them writes
the same bytes. Splits are disjoint ranges of seeds: no scene can be in two of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vega3d._utils.files import make_folder, sweep_parts, write_whole
from vega3d._utils.processes import run_all
from vega3d._utils.progress import Progress
from vega3d.errors import ConfigError, unknown_choice

Row = dict[str, Any]
Make = Callable[[Path, int], Row]
Split = Literal["train", "val", "test"]

_SPLIT_SIZE = 10**8
_PER_SEED = 10**4
_PICTURES = {".jpg": "JPEG", ".png": "PNG"}


def scene_seed(split: Split, seed: int, index: int) -> int:
    """Room seed of the ``index``-th scene of run ``seed`` in a split; splits never share one."""
    splits = get_args(Split)
    if split not in splits:
        raise unknown_choice("split", split, splits)
    if not (0 <= seed < _SPLIT_SIZE // _PER_SEED and 0 <= index < _PER_SEED):
        raise ConfigError(
            "Invalid seed or scene index: out of range.",
            got=f"seed {seed}, scene {index}",
            expected="both in 0..9999",
            fix="pass --seed 0, and at most 10000 scenes a seed",
        )
    return int(splits.index(split) * _SPLIT_SIZE + seed * _PER_SEED + index)


def require_something(*numbers: int) -> None:
    """Raise ConfigError unless all numbers of scenes, pixels and frames are at least 1."""
    if min(numbers) < 1:
        raise ConfigError("Invalid export: nothing to write.", got=numbers, expected="numbers >= 1")


def swept(folder: Path) -> Path:
    """Make a folder, or remove half-written files from it; returns it."""
    sweep_parts(make_folder(folder))
    return folder


def export_scenes(
    make: Make,
    out: Path,
    name: str,
    seeds: Iterable[int],
    settings: object,
    workers: int,
    progress: Progress,
    suffixes: Sequence[str] = (),
) -> list[Row]:
    """Contents of the JSON of all scenes, in order; those that are complete are not made again.

    Args:
        make: module-level function, or a partial of one, of a scene's JSON and seed; writes all other files
            of the scene and returns the content of the JSON.
        out: folder of the export.
        name: path of a scene's JSON below it, with a place for the seed.
        seeds: of all scenes.
        settings: that determine the bytes of a scene; a scene of other settings is made again.
        workers: processes; 1 makes all scenes here.
        progress: called after each scene.
        suffixes: of the files beside the JSON that have to exist, too.
    """
    expected = json.loads(json.dumps(settings))
    calls = [(make, out / name.format(seed), seed, expected, suffixes) for seed in seeds]
    for folder in {out, *(mark.parent for _, mark, *_ in calls)}:
        swept(folder)
    contents: dict[int, Row] = {}
    for done, (index, (content, complete)) in enumerate(run_all(_scene, calls, workers), start=1):
        contents[index] = content
        progress(done, len(calls), complete)
    return [contents[index] for index in range(len(calls))]


def _scene(make: Make, mark: Path, seed: int, settings: object, suffixes: Sequence[str]) -> tuple[Row, bool]:
    """Content of a scene's JSON, and whether it was complete before."""
    if all(file.is_file() for file in (mark, *map(mark.with_suffix, suffixes))):
        try:
            known: Row = json.loads(mark.read_text(encoding="utf-8"))
            if known["settings"] == settings:
                return known, True
        except (ValueError, KeyError, TypeError):
            pass  # damaged: made again
    scene = {"settings": settings, **make(mark, seed)}
    write_text(mark, json.dumps(scene))
    return scene, False


def numbered(groups: Iterable[Iterable[Row]], key: str = "id") -> list[Row]:
    """Rows of all groups with their numbers under ``key``, which comes first."""
    return [{key: 0, **row} | {key: number} for number, row in enumerate(chain.from_iterable(groups))]


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole."""
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    """Write rows as JSON lines."""
    return write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_picture(path: Path, pixels: NDArray[np.generic], **options: Any) -> Path:
    """Write pixels as .png or .jpg; ``options`` are those of Pillow's ``save``."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    return write_whole(path, lambda part: picture.save(part, _PICTURES[path.suffix], **options))
