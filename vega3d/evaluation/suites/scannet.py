"""ScanNet scenes on disk: frames, first camera and axis alignment, in the layouts that benchmarks share.

A scene is `scannet/<scene>.mp4`, a folder of pictures `scannet/<scene>/`, or posed frames
`scannet/posed_images/<scene>/NNNNN.jpg` with depth and camera beside them (EmbodiedScan's layout, which
Video-3D-LLM, VG-LLM and `vega3d rooms export` use). VG-LLM puts media one folder deeper, under `media/`.

This module knows no benchmark.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vega3d.evaluation.suites.media import Media, Pictures

LAYOUT = "scannet/<scene_id>.mp4, scannet/<scene_id>/*.jpg or scannet/posed_images/<scene_id>/*.jpg"
TERMS = "scenes under ScanNet's terms of use, to be signed"
Matrix = NDArray[np.float64]


def scene_media(root: Path, scene: object) -> Media:
    """The frames of a scene; the first place of all where there are none."""
    posed = root / "scannet" / "posed_images" / str(scene)
    for place in (root / "scannet" / f"{scene}.mp4", root / "scannet" / str(scene)):
        if place.exists():
            return place
    frames = sorted(posed.glob("*.jpg"))
    return Pictures(tuple(map(str, frames))) if frames else root / "scannet" / f"{scene}.mp4"


def listed_media(root: Path, images: object) -> Pictures:
    """Frames that a record names one by one, below the folder or below its `media/`."""
    names = [str(name) for name in images] if isinstance(images, list) else []
    base = root / "media" if (root / "media").is_dir() else root
    return Pictures(tuple(str(base / name) for name in names))


def first_camera(root: Path, scene: object) -> Matrix | None:
    """(4, 4) from the first frame's camera to the axis-aligned room; None where a file is missing."""
    posed = sorted((root / "scannet" / "posed_images" / str(scene)).glob("*.jpg"))
    align = root / "scannet" / "scans" / str(scene) / f"{scene}.txt"
    if not posed:
        return None
    try:
        pose = np.loadtxt(posed[0].with_suffix(".txt"))
        line = next(s for s in align.read_text(encoding="utf-8").splitlines() if "axisAlignment" in s)
        turn = np.array([float(v) for v in line.split("=")[1].split()]).reshape(4, 4)
    except (OSError, ValueError, StopIteration, IndexError):
        return None
    return np.asarray(turn @ pose) if pose.shape == (4, 4) else None
