"""ScanNet scenes on disk: frames, first camera and axis alignment, in the layouts that benchmarks share.

A scene is `scannet/<scene>.mp4`, a folder of pictures `scannet/<scene>/`, or posed frames
`scannet/posed_images/<scene>/NNNNN.jpg` with depth and camera beside them (EmbodiedScan's layout, which
Video-3D-LLM, VG-LLM and `vega3d rooms export` use). VG-LLM puts media one folder deeper, under `media/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vega3d.evaluation.benchmark import Sample
from vega3d.evaluation.files import Folder
from vega3d.evaluation.media import Media, Pictures
from vega3d.evaluation.records import Record

LAYOUT = "scannet/<scene_id>.mp4, scannet/<scene_id>/*.jpg or scannet/posed_images/<scene_id>/*.jpg"
TERMS = "scenes under ScanNet's terms of use, to be signed"


def samples_of_scenes(
    folder: Folder, rows: Sequence[dict[str, Any]], identifier: str, kind: Callable[[Record], str]
) -> list[Sample]:
    """Samples about the scenes that rows name under ``scene_id``.

    Args:
        folder: of the benchmark.
        rows: records.
        identifier: field of a row's id; its place if it has none.
        kind: the kind of question of a row.

    Raises:
        InputError: a scene is outside the folder.
    """
    scannet = folder.below("scannet")
    media = {scene: _media(scannet, str(scene)) for scene in {row["scene_id"] for row in rows}}
    return [
        Sample(
            id=str(row.get(identifier, number)),
            record=row,
            media=media[row["scene_id"]],
            scene=str(row["scene_id"]),
            kind=kind(row),
        )
        for number, row in enumerate(rows)
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


def listed_media(folder: Folder, images: Sequence[str]) -> Pictures:
    """Frames that a record names one by one, below the folder or below its `media/`.

    Raises:
        InputError: a frame is outside the folder.
    """
    media = folder.below("media")
    return (media if media.root.is_dir() else folder).pictures(images)


def first_camera(folder: Folder, scene: str) -> list[list[float]] | None:
    """4x4 matrix from the first frame's camera to the axis-aligned room; None if a file is missing.

    Raises:
        InputError: the scene is outside the folder.
    """
    posed = sorted(folder.below("scannet", "posed_images").place(scene).glob("*.jpg"))
    align = folder.below("scannet", "scans").place(f"{scene}/{scene}.txt")
    if not posed:
        return None
    try:
        pose = np.loadtxt(posed[0].with_suffix(".txt"))
        line = next(s for s in align.read_text(encoding="utf-8").splitlines() if "axisAlignment" in s)
        turn = np.array([float(v) for v in line.split("=")[1].split()]).reshape(4, 4)
    except (OSError, ValueError, StopIteration, IndexError):
        return None
    return np.asarray(turn @ pose).tolist() if pose.shape == (4, 4) else None
