"""Rooms in ScanNet's directory layout, with records of five benchmarks of 3-D scene understanding.

Decision: the layout that code for ScanNet reads (posed frames, depth in millimetres, axis alignment, boxes by
object id, true and proposed), so that such code runs on rooms unchanged, with one exception: what is a
pickle there is JSON here, since we write no pickles. Rooms stand still: nothing in ScanNet moves. Scenes are
turned and shifted against their axis-aligned frame, as scans are.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vega3d._utils.progress import Progress, no_progress
from vega3d.rooms.facts import Visibility, axis_aligned
from vega3d.rooms.formats import writer
from vega3d.rooms.formats.records import make_records
from vega3d.rooms.formats.writer import Row, Split
from vega3d.rooms.layout import make_room
from vega3d.rooms.proposals import box_between, make_proposals
from vega3d.rooms.renderer import Clip, render
from vega3d.rooms.rng import Rng
from vega3d.rooms.scannet_questions import multi3drefer, scanqa, scanrefer, sqa3d
from vega3d.rooms.scene import ROOMS_VERSION, Room

_TASKS = ("scanrefer", "multi3drefer", "scanqa", "sqa3d")
_VERSION = 2  # of `scene.json`
_NAME = "scene{:09d}_00"  # of a scene, from its seed: ScanNet's form
_SHOWN = 0.002
"""Share of the picture that a thing must cover in some frame to be a target."""


def export_scannet(
    out: str | Path,
    scenes: int,
    seed: int = 0,
    *,
    split: Split = "train",
    width: int = 320,
    height: int = 240,
    frames: int = 48,
    workers: int = 1,
    progress: Progress = no_progress,
) -> list[Path]:
    """Write ``scenes`` rooms of a split below ``out``; returns the processed files.

    Args:
        out: the data folder; `scannet/`, `metadata/`, `processed/`, `benchmark/`, `embodiedscan/` and
            `evaluation/` go into it.
        scenes, seed, split: which rooms, as in `export_rooms`.
        width, height: pixels of colour and depth (ScanNet: 640, 480).
        frames: posed frames a scene.
        workers: processes.
        progress: called after each scene with (done, total, skipped).

    Raises:
        ConfigError: no scenes, or no pixels.
    """
    writer.require_something(scenes, width, height, frames)
    size: dict[str, Any] = {"width": width, "height": height, "frames": frames}
    seeds = [writer.scene_seed(split, seed, index) for index in range(scenes)]
    settings = [split, {"version": ROOMS_VERSION, **size, "form": _VERSION}]
    make, name = partial(_make, split=split, **size), f"scannet/scans/{_NAME}/scene.json"
    made = writer.export_scenes(make, Path(out), name, seeds, settings, workers, progress)
    return _write_split(Path(out), split, made)


def alignment(room: Room) -> NDArray[np.float64]:
    """(4, 4) from the scan's frame to the axis-aligned one: a turn about z and a shift, the scene's own."""
    rng = Rng(room.version, room.seed, 5)
    yaw, shift = rng.real(-math.pi, math.pi), [rng.real(-3, 3), rng.real(-3, 3), rng.real(-0.3, 0.3)]
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0, shift[0]], [s, c, 0, shift[1]], [0, 0, 1, shift[2]], [0, 0, 0, 1]]).round(6)


def aligned_boxes(room: Room) -> list[list[float]]:
    """[cx, cy, cz, dx, dy, dz] of every thing by object id, in the axis-aligned frame."""
    return [[round(v, 5) for v in box_between(*axis_aligned(thing))] for thing in room.instances]


def _make(mark: Path, seed: int, *, split: str, **size: Any) -> Row:
    """Write frames and axis alignment; returns the annotations."""
    room, folder = make_room(seed).at(0.0), mark.parent
    clip = render(room, **size)
    _write_frames(writer.swept(mark.parents[2] / "posed_images" / folder.name), room, clip)
    numbers = " ".join(f"{value:.6f}" for value in alignment(room).ravel())
    writer.write_text(folder / f"{folder.name}.txt", f"axisAlignment = {numbers}\n")
    return annotate(room, clip, split)


def annotate(room: Room, clip: Clip, split: str) -> Row:
    """Boxes, proposals and raw annotations of one room, as its `scene.json` has them."""
    rng, name = Rng(room.version, room.seed, 4), _NAME.format(room.seed)
    visible = Visibility(room, clip.ids, _SHOWN)
    to_scan = np.linalg.inv(alignment(room))
    boxes = aligned_boxes(room)
    return {
        "scene": name,
        "boxes": boxes,
        "proposals": make_proposals(rng, boxes, room.size),
        "categories": [thing.category for thing in room.instances],
        "axis_align_matrix": alignment(room).tolist(),
        "depth_cam2img": _scannet_intrinsics(clip).tolist(),
        "cam2global": [(to_scan @ pose).round(9).tolist() for pose in clip.poses],
        "visible": [(np.flatnonzero(row[1:] >= _SHOWN)).tolist() for row in visible.coverage],
        "images": [f"scannet/posed_images/{name}/{i:05d}.jpg" for i in clip.frame_indices],
        "scanrefer": scanrefer(rng, visible, name),
        "multi3drefer": multi3drefer(rng, visible, name),
        "scanqa": scanqa(rng, visible, name, split),
        "sqa3d": sqa3d(rng, visible, name, first_id=room.seed * 100),
    }


def _scannet_intrinsics(clip: Clip) -> NDArray[np.float64]:
    """(4, 4); there the *centre* of the first pixel is 0, here it is 0.5."""
    K = np.eye(4)
    K[:3, :3] = clip.K
    K[:2, 2] -= 0.5
    return K


def _write_frames(folder: Path, room: Room, clip: Clip) -> None:
    """NNNNN.jpg, NNNNN.png (millimetres), NNNNN.txt (camera to scan), and the intrinsics."""
    to_scan = np.linalg.inv(alignment(room))
    for index, rgb, depth, pose in zip(clip.frame_indices, clip.rgb, clip.depth, clip.poses, strict=True):
        stem = folder / f"{index:05d}"
        writer.write_picture(stem.with_suffix(".jpg"), rgb, quality=95)
        writer.write_picture(stem.with_suffix(".png"), np.round(depth * 1000).astype(np.uint16))
        writer.write_text(stem.with_suffix(".txt"), _matrix(to_scan @ pose))
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        writer.write_text(folder / name, _matrix(_scannet_intrinsics(clip)))


def _matrix(values: NDArray[np.floating]) -> str:
    return "".join(" ".join(f"{v:.9f}" for v in row) + "\n" for row in values)


def _write_split(root: Path, split: str, scenes: list[Row]) -> list[Path]:
    """Write all that is one file a split: boxes, infos, raw and processed annotations; returns the last."""
    processed = make_records(scenes, split)
    for name, content in {**_annotations(scenes, split), **processed}.items():
        writer.write_text(writer.swept((root / name).parent) / Path(name).name, json.dumps(content))
    return [root / name for name in processed]


def _annotations(scenes: list[Row], split: str) -> dict[str, Any]:
    """File -> boxes by scene and object id, EmbodiedScan's infos, and what the benchmarks publish."""
    raw = {task: [row for scene in scenes for row in scene[task]] for task in _TASKS}
    sqa, tail = "benchmark/sqa_task/balanced/v1_balanced", f"{split}_scannetv2.json"
    infos = [
        {
            "sample_idx": f"scannet/{s['scene']}",
            "axis_align_matrix": s["axis_align_matrix"],
            "depth_cam2img": s["depth_cam2img"],
            "images": [{"img_path": path} for path in s["images"]],
        }
        for s in scenes
    ]
    return {
        f"metadata/scannet_{split}_gt_box.json": {f"scannet/{s['scene']}": s["boxes"] for s in scenes},
        f"metadata/scannet_{split}_pred_box.json": {f"scannet/{s['scene']}": s["proposals"] for s in scenes},
        f"embodiedscan/embodiedscan_infos_{split}.json": {"data_list": infos},
        f"benchmark/scanrefer/ScanRefer_filtered_{split}.json": raw["scanrefer"],
        f"benchmark/multi3drefer/multi3drefer_{split}.json": raw["multi3drefer"],
        f"benchmark/scanqa/ScanQA_v1.0_{split}.json": raw["scanqa"],
        f"{sqa}_questions_{tail}": {"questions": [question for question, _ in raw["sqa3d"]]},
        f"{sqa}_sqa_annotations_{tail}": {"annotations": [note for _, note in raw["sqa3d"]]},
    }
