"""Questions about single pictures of rooms, in the forms of CV-Bench and of BLINK's spatial sub-tasks.

Decision: rows have the hub's fields and meanings, so whatever reads the one reads the other; pictures are
files beside them. `source` says which half of CV-Bench's mean a row counts in (COCO for 2D, Omni3D for 3D),
and `source_dataset` that it is rooms. Answers come from the exact picture: ids, depth, poses. A question is
asked only where its answer is plain: centres a tenth of the picture apart, distances 0.3 m apart, turns of 8
degrees and more. Pairs come in random order, so that no letter is a safe guess. Source of the forms:
huggingface.co/datasets/nyu-visionx/CV-Bench and BLINK-Benchmark/BLINK.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vega3d.errors import ConfigError, DependencyError
from vega3d.files import make_folder, sweep_parts, write_whole
from vega3d.rooms.catalogue import plural
from vega3d.rooms.dice import Dice
from vega3d.rooms.export import Progress, Split, scene_seed, write_text
from vega3d.rooms.layout import make_room
from vega3d.rooms.relations import distance
from vega3d.rooms.renderer import Clip, render, visible_pixels
from vega3d.rooms.scene import Instance, Room

Row = dict[str, Any]
_SHOWN = 0.01  # share of the picture
_APART, _METRES, _TURN = 0.1, 0.3, math.radians(8)
LETTERS = "ABCDEF"


def export_pictures(
    out: str | Path,
    scenes: int,
    seed: int = 0,
    *,
    split: Split = "test",
    size: int = 256,
    progress: Progress | None = None,
) -> list[Path]:
    """Write `cvbench/test.jsonl` and `blink/val.jsonl` with their pictures; returns both paths.

    Args:
        out: the data folder.
        scenes, seed, split: which rooms, as in `export_rooms`.
        size: width and height of a picture.
        progress: called after each scene with (done, total, skipped).

    Raises:
        ConfigError: no scenes, or no pixels.
        DependencyError: Pillow is missing.
    """
    if min(scenes, size) < 1:
        raise ConfigError("Nothing to export.", got=(scenes, size), expected="numbers >= 1")
    root = Path(out)
    rows: dict[str, list[Row]] = {"cvbench/test.jsonl": [], "blink/val.jsonl": []}
    for place in [root / name for name in rows]:
        sweep_parts(place.parent)
        sweep_parts(place.parent / "pictures")
    for number in range(scenes):
        room = make_room(scene_seed(split, seed, number)).at(0.0)
        clip = render(room, width=size, height=size, frames=8)
        for name, found in zip(rows, (cvbench(room, clip), blink(room, clip)), strict=True):
            rows[name] += [_saved(root / name, room, clip, row) for row in found]
        if progress is not None:
            progress(number + 1, scenes, False)
    for name, found in rows.items():
        content = "".join(json.dumps({"idx": at, **row}) + "\n" for at, row in enumerate(found))
        write_text(root / name, content)
    return [root / name for name in rows]


def cvbench(room: Room, clip: Clip) -> list[Row]:
    """Count, Relation, Depth and Distance, one question each where the first frame has an answer."""
    dice = Dice(room.version, room.seed, 6)
    seen = _seen(room, clip, 0)
    lone = [thing for thing in seen if sum(t.category == thing.category for t in room.instances) == 1]
    asked: tuple[tuple[str, Callable[..., Row | None]], ...] = (
        ("Count", _count),
        ("Relation", _relation),
        ("Depth", _depth),
        ("Distance", _closer),
    )
    rows = [(task, ask(dice, clip, seen if task == "Count" else lone)) for task, ask in asked]
    return [_cv_row(room, task, row) for task, row in rows if row is not None]


def blink(room: Room, clip: Clip) -> list[Row]:
    """The three spatial sub-tasks, one question each where there is a plain answer."""
    dice = Dice(room.version, room.seed, 7)
    seen = [t for t in _seen(room, clip, 0) if sum(o.category == t.category for o in room.instances) == 1]
    found = (
        ("Multi-view_Reasoning", _turn(dice, clip)),
        ("Relative_Depth", _nearer(dice, clip, seen)),
        ("Spatial_Relation", _left_of(dice, clip, seen)),
    )
    return [_blink_row(room, name, row) for name, row in found if row is not None]


def _count(dice: Dice, clip: Clip, seen: list[Instance]) -> Row | None:
    """How many things of a kind the picture shows plainly."""
    del clip
    kinds = sorted({thing.category for thing in seen})
    if not kinds:
        return None
    kind = dice.pick(kinds)
    truth = sum(thing.category == kind for thing in seen)
    start = max(0, truth - dice.whole(0, 4))
    return _row(f"How many {plural(kind)} are in the image?", [str(start + n) for n in range(4)], str(truth))


def _relation(dice: Dice, clip: Clip, lone: list[Instance]) -> Row | None:
    for a, b in _pairs(dice, lone):
        apart = _middle(clip, a) - _middle(clip, b)
        if abs(apart) >= _APART:
            text = (
                f"Considering the relative positions of the {a.category} and the {b.category} in the image, "
                f"where is the {a.category} located with respect to the {b.category}?"
            )
            return _row(text, ["left", "right"], "left" if apart < 0 else "right")
    return None


def _depth(dice: Dice, clip: Clip, lone: list[Instance]) -> Row | None:
    for a, b in _pairs(dice, lone):
        if abs(_metres(clip, a) - _metres(clip, b)) >= _METRES:
            nearer = a if _metres(clip, a) < _metres(clip, b) else b
            text = (
                f"Which object is closer to the camera taking this photo, the {a.category} or the "
                f"{b.category}?"
            )
            return _row(text, [a.category, b.category], nearer.category)
    return None


def _closer(dice: Dice, clip: Clip, lone: list[Instance]) -> Row | None:
    del clip
    for a, b in _pairs(dice, lone):
        for target in dice.some([t for t in lone if t not in (a, b)]):
            near, far = distance(target, a), distance(target, b)
            if abs(near - far) >= _METRES:
                text = (
                    "Estimate the real-world distances between objects in this image. Which object is closer "
                    f"to the {target.category}, the {a.category} or the {b.category}?"
                )
                return _row(text, [a.category, b.category], (a if near < far else b).category)
    return None


def _turn(dice: Dice, clip: Clip) -> Row | None:
    """Which way the camera turns between two frames, seen from above."""
    ways = [(i, j) for i in range(len(clip.poses)) for j in (i + 1, i + 2) if j < len(clip.poses)]
    for i, j in dice.some(ways):
        first, second = (math.atan2(*clip.poses[at][:2, 2][::-1]) for at in (i, j))
        turn = math.remainder(second - first, 2 * math.pi)
        if _TURN <= abs(turn) <= math.pi / 2:
            text = (
                "The images are frames from a video. The first image is from the beginning of the video and "
                "the second image is from the end. Is the camera turning to the left or to the right?"
            )
            return {**_row(text, ["left", "right"], "left" if turn > 0 else "right"), "frames": [i, j]}
    return None


def _nearer(dice: Dice, clip: Clip, seen: list[Instance]) -> Row | None:
    row = _depth(dice, clip, seen)
    return row and {**row, "question": row["question"].replace("Which object", "Which thing")}


def _left_of(dice: Dice, clip: Clip, seen: list[Instance]) -> Row | None:
    for a, b in _pairs(dice, seen):
        apart = _middle(clip, a) - _middle(clip, b)
        if abs(apart) >= _APART:
            text = f"Is the {a.category} at the left side of the {b.category}?"
            return _row(text, ["yes", "no"], "yes" if apart < 0 else "no")
    return None


def _row(question: str, choices: list[str], truth: str) -> Row:
    return {"question": question, "choices": choices, "answer": f"({LETTERS[choices.index(truth)]})"}


def _cv_row(room: Room, task: str, row: Row) -> Row:
    flat = task in ("Count", "Relation")
    name = f"{room.name}_0.png"
    listed = " ".join(f"({letter}) {c}" for letter, c in zip(LETTERS, row["choices"], strict=False))
    return {
        "type": "2D" if flat else "3D",
        "task": task,
        "image": [0],
        **row,
        "prompt": f"{row['question']} Select from the following choices.\n{listed}",
        "filename": name,
        "source": "COCO" if flat else "Omni3D",
        "source_dataset": "rooms",
        "source_filename": name,
    }


def _blink_row(room: Room, name: str, row: Row) -> Row:
    listed = "\n".join(
        f"({letter}) {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=False)
    )
    prompt = f"{row['question']}\nSelect from the following choices.\n{listed}"
    frames = row.pop("frames", [0])
    pictures = {f"image_{at}": [frame] for at, frame in enumerate(frames, start=1)}
    return {"sub_task": name, **row, **pictures, "prompt": prompt, "explanation": "", "scene_name": room.name}


def _saved(file: Path, room: Room, clip: Clip, row: Row) -> Row:
    """The row with its pictures on disk: a list of a frame's number becomes the name of a file."""
    return {name: _picture(file, room, clip, value[0]) if name.startswith("image") else value
            for name, value in row.items()}  # fmt: skip


def _picture(file: Path, room: Room, clip: Clip, frame: int) -> str:
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError("Writing pictures needs Pillow.", fix="pip install pillow") from error
    name = f"pictures/{room.name}_{frame}.png"
    make_folder(file.parent / "pictures")
    if not (file.parent / name).is_file():
        write_whole(file.parent / name, lambda part: Image.fromarray(clip.rgb[frame]).save(part, "PNG"))
    return name


def _seen(room: Room, clip: Clip, frame: int) -> list[Instance]:
    """Things that a frame shows plainly."""
    cover = visible_pixels(clip, len(room.instances))[frame] / clip.ids[frame].size
    return [thing for thing in room.instances if cover[thing.id] >= _SHOWN]


def _pairs(dice: Dice, things: list[Instance]) -> Iterator[tuple[Instance, Instance]]:
    """Pairs in random order, either one first."""
    yield from dice.some([(a, b) for a in things for b in things if a is not b])


def _middle(clip: Clip, thing: Instance) -> float:
    """Mean column of the thing's pixels in the first frame, 0..1."""
    return float(np.nonzero(clip.ids[0] == thing.id)[1].mean() / clip.ids.shape[2])


def _metres(clip: Clip, thing: Instance) -> float:
    """Median depth of the thing's pixels in the first frame."""
    return float(np.median(clip.depth[0][clip.ids[0] == thing.id]))
