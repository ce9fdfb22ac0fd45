"""Export rooms in ScanNet's directory layout, with records of five benchmarks of 3-D scene understanding.

Decision: the layout that code for ScanNet reads (posed frames, depth in millimetres, axis alignment, boxes by
object id, true and proposed), so that such code runs on rooms unchanged, with one exception: what is a
pickle there is JSON here, since we write no pickles. A scene is complete when its `scene.json` exists, which
is written last. Rooms stand still: nothing in ScanNet moves. Scenes are turned and shifted against their
axis-aligned frame, as scans are.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vega3d.errors import ConfigError, DependencyError
from vega3d.files import make_folder, sweep_parts, write_whole
from vega3d.rooms.annotations import multi3drefer, scanqa, scanrefer, sqa3d
from vega3d.rooms.dice import Dice
from vega3d.rooms.export import Progress, Split, scene_seed, write_text
from vega3d.rooms.layout import make_room
from vega3d.rooms.proposals import make_proposals
from vega3d.rooms.records import (
    multi3drefer_records,
    scan2cap_records,
    scanqa_records,
    scanrefer_records,
    sqa3d_records,
)
from vega3d.rooms.references import Facts
from vega3d.rooms.relations import axis_aligned
from vega3d.rooms.renderer import Clip, render, visible_pixels
from vega3d.rooms.scene import ROOMS_VERSION, Room
from vega3d.rooms.vgllm import vgllm_records
from vega3d.rooms.workers import run_all

_TASKS = ("scanrefer", "multi3drefer", "scanqa", "sqa3d")
_SHOWN = 0.002
"""Share of the picture that a thing must cover in some frame to be a target."""


@dataclass(frozen=True)
class ScanSettings:
    """What decides the bytes of a scene beside its seed."""

    version: int = ROOMS_VERSION
    width: int = 320
    height: int = 240
    frames: int = 48
    form: int = 2  # of `scene.json`


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
    progress: Progress | None = None,
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
        DependencyError: Pillow is missing.
    """
    if min(scenes, width, height, frames) < 1:
        raise ConfigError("Nothing to export.", got=(scenes, width, height, frames), expected="numbers >= 1")
    root, settings = Path(out), ScanSettings(ROOMS_VERSION, width, height, frames)
    jobs = [(root, scene_seed(split, seed, i), split, settings) for i in range(scenes)]
    found: dict[int, dict[str, Any]] = {}
    for done, (index, (scene, skipped)) in enumerate(run_all(_one_scene, jobs, workers), start=1):
        found[index] = scene
        if progress is not None:
            progress(done, scenes, skipped)
    return _write_split(root, split, [found[index] for index in sorted(found)])


def scene_name(room: Room) -> str:
    """`scene<seed>_00`: ScanNet's form, unique for the seed."""
    return f"scene{room.seed:09d}_00"


def alignment(room: Room) -> NDArray[np.float64]:
    """(4, 4) from the scan's frame to the axis-aligned one: a turn about z and a shift, the scene's own."""
    dice = Dice(room.version, room.seed, 5)
    yaw, shift = dice.real(-math.pi, math.pi), [dice.real(-3, 3), dice.real(-3, 3), dice.real(-0.3, 0.3)]
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0, shift[0]], [s, c, 0, shift[1]], [0, 0, 1, shift[2]], [0, 0, 0, 1]]).round(6)


def aligned_boxes(room: Room) -> list[list[float]]:
    """[cx, cy, cz, dx, dy, dz] of every thing by object id, in the axis-aligned frame."""
    boxes = []
    for thing in room.instances:
        low, high = axis_aligned(thing)
        boxes.append([round(float(v), 5) for v in (*((low + high) / 2), *(high - low))])
    return boxes


def _one_scene(root: Path, seed: int, split: str, settings: ScanSettings) -> tuple[dict[str, Any], bool]:
    """The scene's annotations, made or read; and whether it was there."""
    room = make_room(seed, settings.version).at(0.0)
    name, wanted = scene_name(room), json.loads(json.dumps([split, vars(settings)]))
    mark = root / "scannet" / "scans" / name / "scene.json"
    if mark.is_file():
        known: dict[str, Any] = json.loads(mark.read_text(encoding="utf-8"))
        if known.get("settings") == wanted:
            return known, True
    clip = render(room, width=settings.width, height=settings.height, frames=settings.frames)
    _write_frames(root / "scannet" / "posed_images" / name, room, clip)
    scene = {"settings": wanted, **annotate(room, clip, split)}
    sweep_parts(make_folder(mark.parent))
    numbers = " ".join(f"{v:.6f}" for v in alignment(room).ravel())
    write_text(mark.with_name(f"{name}.txt"), f"axisAlignment = {numbers}\n")
    write_text(mark, json.dumps(scene))
    return scene, False


def annotate(room: Room, clip: Clip, split: str) -> dict[str, Any]:
    """Boxes, proposals and raw annotations of one room, as its `scene.json` has them."""
    dice, name = Dice(room.version, room.seed, 4), scene_name(room)
    shown = visible_pixels(clip, len(room.instances)) / clip.ids[0].size >= _SHOWN  # (frames, ids)
    facts = Facts(room, frozenset(int(i) for i in np.flatnonzero(shown.any(axis=0)) if i > 0))
    to_scan = np.linalg.inv(alignment(room))
    boxes = aligned_boxes(room)
    K = _scannet_intrinsics(clip)
    return {
        "scene": name,
        "boxes": boxes,
        "proposals": make_proposals(dice, boxes, room.size),
        "categories": [thing.category for thing in room.instances],
        "axis_align_matrix": alignment(room).tolist(),
        "depth_cam2img": K.tolist(),
        "cam2global": [(to_scan @ pose).round(9).tolist() for pose in clip.poses],
        "visible": [[int(i) - 1 for i in np.flatnonzero(row) if i > 0] for row in shown],
        "images": [f"scannet/posed_images/{name}/{i:05d}.jpg" for i in clip.frame_indices],
        "scanrefer": scanrefer(dice, facts, name),
        "multi3drefer": multi3drefer(dice, facts, name),
        "scanqa": scanqa(dice, facts, name, split),
        "sqa3d": sqa3d(dice, facts, name, first_id=room.seed * 100),
    }


def _scannet_intrinsics(clip: Clip) -> NDArray[np.float64]:
    """(4, 4); there the *centre* of the first pixel is 0, here it is 0.5."""
    K = np.eye(4)
    K[:3, :3] = clip.K
    K[:2, 2] -= 0.5
    return K


def _write_frames(folder: Path, room: Room, clip: Clip) -> None:
    """NNNNN.jpg, NNNNN.png (millimetres), NNNNN.txt (camera to scan), and the intrinsics."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError("Writing frames needs Pillow.", fix="pip install pillow") from error
    sweep_parts(make_folder(folder))
    to_scan = np.linalg.inv(alignment(room))
    for index, rgb, depth, pose in zip(clip.frame_indices, clip.rgb, clip.depth, clip.poses, strict=True):
        colour = Image.fromarray(rgb)
        millimetres = Image.fromarray(np.round(depth * 1000).astype(np.uint16))
        stem = folder / f"{index:05d}"
        write_whole(stem.with_suffix(".jpg"), lambda p, c=colour: c.save(p, "JPEG", quality=95))  # type: ignore[misc]
        write_whole(stem.with_suffix(".png"), lambda p, m=millimetres: m.save(p, "PNG"))  # type: ignore[misc]
        write_text(stem.with_suffix(".txt"), _matrix(to_scan @ pose))
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        write_text(folder / name, _matrix(_scannet_intrinsics(clip)))


def _matrix(values: NDArray[np.floating]) -> str:
    return "".join(" ".join(f"{v:.9f}" for v in row) + "\n" for row in values)


def _write_split(root: Path, split: str, scenes: list[dict[str, Any]]) -> list[Path]:
    """All that is one file a split: boxes, infos, raw and processed annotations; returns the last."""
    raw = {task: [row for s in scenes for row in s[task]] for task in _TASKS}
    processed = _processed(raw, split, scenes)
    for name, content in {**_metadata(split, scenes), **_benchmark(raw, split), **processed}.items():
        sweep_parts(make_folder((root / name).parent))
        write_text(root / name, json.dumps(content))
    return [root / name for name in processed]


def _processed(raw: dict[str, list[Any]], split: str, scenes: list[dict[str, Any]]) -> dict[str, Any]:
    """File -> records that models train on."""
    boxes, proposals = ({s["scene"]: s[key] for s in scenes} for key in ("boxes", "proposals"))
    records = {
        "scanrefer_vg": scanrefer_records(raw["scanrefer"], boxes),
        "multi3drefer": multi3drefer_records(raw["multi3drefer"], boxes),
        "scanqa": scanqa_records(raw["scanqa"], split),
        "sqa3d": sqa3d_records([(question, note) for question, note in raw["sqa3d"]], split),
        "scan2cap": scan2cap_records(raw["scanrefer"], boxes, proposals, split),
    }
    processed = {f"processed/{name}_{split}_llava_style.json": rows for name, rows in records.items()}
    return processed | vgllm_records(scenes, split)


def _benchmark(raw: dict[str, list[Any]], split: str) -> dict[str, Any]:
    """File -> annotations as the benchmarks publish them."""
    sqa, tail = "benchmark/sqa_task/balanced/v1_balanced", f"{split}_scannetv2.json"
    return {
        f"benchmark/scanrefer/ScanRefer_filtered_{split}.json": raw["scanrefer"],
        f"benchmark/multi3drefer/multi3drefer_{split}.json": raw["multi3drefer"],
        f"benchmark/scanqa/ScanQA_v1.0_{split}.json": raw["scanqa"],
        f"{sqa}_questions_{tail}": {"questions": [question for question, _ in raw["sqa3d"]]},
        f"{sqa}_sqa_annotations_{tail}": {"annotations": [note for _, note in raw["sqa3d"]]},
    }


def _metadata(split: str, scenes: list[dict[str, Any]]) -> dict[str, Any]:
    """File -> boxes by scene and object id, and what EmbodiedScan's infos say of each scene."""
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
    }
