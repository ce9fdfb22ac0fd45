"""ScanNet scenes on disk, and VG-LLM's records about them, in the layouts that benchmarks share.

A scene is `scannet/<scene>.mp4`, a folder of pictures `scannet/<scene>/`, or posed frames
`scannet/posed_images/<scene>/NNNNN.jpg` with depth and camera beside them (EmbodiedScan's layout, which
Video-3D-LLM, VG-LLM and `vega3d rooms export` use). VG-LLM puts media one folder deeper, under `media/`.

VG-LLM's `evaluation/<task>/*.json` holds one record a question, with a ready-made prompt. Its `images` are
the sampled frames, in order, and every number in an answer refers to them, so all of them are sent, whatever
`--frames` is. Source: LaVi-Lab/VG-LLM (README, converters), data set zd11024/VG-LLM-Data on the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vega3d.evaluation.benchmark import Sample
from vega3d.evaluation.files import Folder, are_paths, identifier, rows_of
from vega3d.evaluation.media import Media, Pictures
from vega3d.evaluation.records import Field, Record

LAYOUT = "scannet/<scene_id>.mp4, scannet/<scene_id>/*.jpg or scannet/posed_images/<scene_id>/*.jpg"
TERMS = "scenes under ScanNet's terms of use, to be signed"
IMAGES = Field("images", are_paths, "a list of paths")


def samples_of_scenes(
    folder: Folder, rows: Sequence[dict[str, Any]], id_name: str, kind: Callable[[Record], str]
) -> list[Sample]:
    """Samples about the scenes that rows name under ``scene_id``.

    Args:
        folder: of the benchmark.
        rows: records.
        id_name: field of a row's id; its place if it has none.
        kind: the kind of question of a row.

    Raises:
        InputError: a scene is outside the folder.
    """
    scannet = folder.below("scannet")
    scenes = [str(row["scene_id"]) for row in rows]
    media = {scene: _media(scannet, scene) for scene in set(scenes)}
    return [
        Sample(str(row.get(id_name, number)), row, media[scene], scene, kind(row))
        for number, (row, scene) in enumerate(zip(rows, scenes, strict=True))
    ]


def _media(folder: Folder, scene: str) -> Media:
    """The frames of a scene; the first place of all if there are none."""
    video, pictures = folder.place(f"{scene}.mp4"), folder.place(scene)
    posed = folder.below("posed_images").place(scene)
    for path in (video, pictures):
        if path.exists():
            return path
    frames = sorted(posed.glob("*.jpg"))
    return Pictures(tuple(map(str, frames))) if frames else video


def first_camera(folder: Folder, scene: str) -> list[list[float]] | None:
    """4x4 matrix from the first frame's camera to the axis-aligned room; None if a file is missing.

    Raises:
        InputError: the scene is outside the folder.
    """
    posed = sorted(folder.below("scannet", "posed_images").place(scene).glob("*.jpg"))
    align = folder.below("scannet", "scans").place(f"{scene}/{scene}.txt")
    try:
        pose = np.loadtxt(posed[0].with_suffix(".txt"))
        line = next(s for s in align.read_text(encoding="utf-8").splitlines() if "axisAlignment" in s)
        turn = np.array([float(v) for v in line.split("=")[1].split()]).reshape(4, 4)
    except (OSError, ValueError, StopIteration, IndexError):
        return None
    return np.asarray(turn @ pose).tolist() if pose.shape == (4, 4) else None


def question_type(row: Record) -> str:
    """`unique` or `multiple`, if the record states it."""
    metadata = row.get("metadata")
    return str(metadata.get("question_type", "all")) if isinstance(metadata, dict) else "all"


def vgllm(
    name: str,
    required: Sequence[Field] = (),
    optional: Sequence[Field] = (),
    kind: Callable[[Record], str] = question_type,
) -> dict[str, Any]:
    """Reader, system prompt, layout, source and license of one of VG-LLM's benchmarks.

    Args:
        name: of the benchmark.
        required: fields that each record has, beside its images.
        optional: fields that are usable if a record has them.
        kind: the kind of question of a record.
    """
    return {
        "read": partial(_read, required=required, optional=optional, kind=kind),
        "system": "You are a helpful assistant.",
        "layout": f"evaluation/{name}/*val*.json (one file), and the frames that it names, below media/ "
        "or beside",
        "source": "huggingface.co/datasets/zd11024/VG-LLM-Data; www.scan-net.org for the scenes; "
        "or `vega3d rooms export`",
        "license": f"records under the terms of their benchmarks; {TERMS}",
    }


def _read(
    folder: Folder, required: Sequence[Field], optional: Sequence[Field], kind: Callable[[Record], str]
) -> list[Sample]:
    """Samples of the one file of validation records of a benchmark.

    Raises:
        InputError: there is not exactly one file, it cannot be read, or a frame is outside the folder.
    """
    rows = rows_of(_only_file(folder), (IMAGES, *required), (identifier("id"), *optional), unique=("id",))
    media = folder.below("media") if (folder.root / "media").is_dir() else folder
    samples = []
    for number, row in enumerate(rows):
        scene = Path(row["images"][0]).parent.name or "none"
        record = {**row, "question": row.get("prompt")}
        name = str(row.get("id", number))
        samples.append(Sample(name, record, media.pictures(row["images"]), scene, kind(row)))
    return samples


def _only_file(folder: Folder) -> Path:
    files = sorted((folder.root / "evaluation" / folder.benchmark).glob("*val*.json"))
    if len(files) == 1:
        return files[0]
    what = "holds several sets of" if files else "holds no questions of"
    expected = f"one file evaluation/{folder.benchmark}/*val*.json"
    raise folder.unusable(what, ", ".join(file.name for file in files) or "no file", expected)
