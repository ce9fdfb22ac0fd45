"""ScanNet scenes on disk: frames, first camera and axis alignment, in the layouts that benchmarks share.

A scene is `scannet/<scene>.mp4`, a folder of pictures `scannet/<scene>/`, or posed frames
`scannet/posed_images/<scene>/NNNNN.jpg` with depth and camera beside them (EmbodiedScan's layout, which
Video-3D-LLM, VG-LLM and `vega3d rooms export` use). VG-LLM puts media one folder deeper, under `media/`.

This module knows no benchmark.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vega3d.evaluation.suites.media import Media, Pictures, named, named_pictures

LAYOUT = "scannet/<scene_id>.mp4, scannet/<scene_id>/*.jpg or scannet/posed_images/<scene_id>/*.jpg"
TERMS = "scenes under ScanNet's terms of use, to be signed"
Matrix = NDArray[np.float64]


def media_of_scenes(root: Path, scenes: Iterable[object], *, follow_links: bool = False) -> dict[Any, Media]:
    """The frames of each scene.

    Raises:
        InputError: a scene is outside the folder.
    """
    return {scene: scene_media(root, scene, follow_links=follow_links) for scene in set(scenes)}


def scene_media(root: Path, scene: object, *, follow_links: bool = False) -> Media:
    """The frames of a scene; the first place of all where there are none.

    Raises:
        InputError: the scene is outside the folder.
    """
    video = named(root / "scannet", f"{scene}.mp4", follow_links=follow_links)
    folder = named(root / "scannet", str(scene), follow_links=follow_links)
    posed = named(root / "scannet" / "posed_images", str(scene), follow_links=follow_links)
    for place in (video, folder):
        if place.exists():
            return place
    frames = sorted(posed.glob("*.jpg"))
    return Pictures(tuple(map(str, frames))) if frames else video


def listed_media(root: Path, images: Sequence[str], *, follow_links: bool = False) -> Pictures:
    """Frames that a record names one by one, below the folder or below its `media/`.

    Raises:
        InputError: a frame is outside the folder.
    """
    base = root / "media" if (root / "media").is_dir() else root
    return named_pictures(base, images, follow_links=follow_links)


def first_camera(root: Path, scene: object, *, follow_links: bool = False) -> Matrix | None:
    """(4, 4) from the first frame's camera to the axis-aligned room; None where a file is missing.

    Raises:
        InputError: the scene is outside the folder.
    """
    posed = sorted(
        named(root / "scannet" / "posed_images", str(scene), follow_links=follow_links).glob("*.jpg")
    )
    align = named(root / "scannet" / "scans", f"{scene}/{scene}.txt", follow_links=follow_links)
    if not posed:
        return None
    try:
        pose = np.loadtxt(posed[0].with_suffix(".txt"))
        line = next(s for s in align.read_text(encoding="utf-8").splitlines() if "axisAlignment" in s)
        turn = np.array([float(v) for v in line.split("=")[1].split()]).reshape(4, 4)
    except (OSError, ValueError, StopIteration, IndexError):
        return None
    return np.asarray(turn @ pose) if pose.shape == (4, 4) else None
