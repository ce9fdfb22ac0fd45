"""ScanNet scenes on disk: frames, first camera and axis alignment, in the layouts that benchmarks share.

A scene is `scannet/<scene>.mp4`, a folder of pictures `scannet/<scene>/`, or posed frames
`scannet/posed_images/<scene>/NNNNN.jpg` with depth and camera beside them (EmbodiedScan's layout, which
Video-3D-LLM, VG-LLM and `vega3d rooms export` use). VG-LLM puts media one folder deeper, under `media/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vega3d.evaluation.files import Folder
from vega3d.evaluation.media import Media, Pictures

LAYOUT = "scannet/<scene_id>.mp4, scannet/<scene_id>/*.jpg or scannet/posed_images/<scene_id>/*.jpg"
TERMS = "scenes under ScanNet's terms of use, to be signed"
Matrix = NDArray[np.float64]


def media_of_scenes(folder: Folder, scenes: Iterable[object]) -> dict[Any, Media]:
    """The frames of each scene; the first place of all if there are none.

    Raises:
        InputError: a scene is outside the folder.
    """
    return {scene: _media(folder.below("scannet"), str(scene)) for scene in set(scenes)}


def _media(folder: Folder, scene: str) -> Media:
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


def first_camera(folder: Folder, scene: str) -> Matrix | None:
    """(4, 4) from the first frame's camera to the axis-aligned room; None if a file is missing.

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
    return np.asarray(turn @ pose) if pose.shape == (4, 4) else None
