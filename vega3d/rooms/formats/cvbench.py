"""Questions about single pictures of rooms, in the layouts of CV-Bench and of BLINK's spatial sub-tasks.

Decision: rows have the hub's fields and meanings, so programs for the one read the other. `source` is
the half of CV-Bench's mean that a row counts in (COCO for 2D, Omni3D for 3D), and `source_dataset` marks
rooms. Answers come from the exact picture: ids, depth, poses. A question is asked only where its answer is
plain: centres a tenth of the picture apart, distances 0.3 m apart, turns of 8 degrees and more. Pairs come in
random order, so that no letter is a safe guess.

Source of the forms: huggingface.co/datasets/nyu-visionx/CV-Bench and BLINK-Benchmark/BLINK.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np

from vega3d._utils.progress import Progress, no_progress
from vega3d.rooms.facts import Visibility, distance
from vega3d.rooms.formats import writer
from vega3d.rooms.formats.writer import Row, Split
from vega3d.rooms.furniture import plural
from vega3d.rooms.layout import make_room
from vega3d.rooms.renderer import Clip, render
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance, Room

Value = Callable[[Instance], float]
LETTERS = "ABCDEF"
_SHOWN = 0.01  # share of the picture
_APART, _METRES, _TURN = 0.1, 0.3, math.radians(8)
_RELATION = (
    "Considering the relative positions of the {a} and the {b} in the image, where is the {a} located with "
    "respect to the {b}?"
)
_NEARER = " is closer to the camera taking this photo, the {a} or the {b}?"
_DISTANCE = (
    "Estimate the real-world distances between objects in this image. Which object is closer to the "
    "{target}, the {a} or the {b}?"
)
_CAMERA = (
    "The images are frames from a video. The first image is from the beginning of the video and the second "
    "image is from the end. Is the camera turning to the left or to the right?"
)


def export_pictures(
    out: str | Path,
    scenes: int,
    seed: int = 0,
    *,
    split: Split = "test",
    size: int = 256,
    progress: Progress = no_progress,
) -> list[Path]:
    """Write `cvbench/test.jsonl` and `blink/val.jsonl` with their pictures; returns both paths.

    Args:
        out: the data folder.
        scenes, seed, split: which rooms, as in `export_rooms`.
        size: width and height of a picture.
        progress: called after each scene with (done, total, skipped).

    Raises:
        ConfigError: no scenes, or no pixels.
    """
    writer.require_something(scenes, size)
    files = [Path(out) / name for name in ("cvbench/test.jsonl", "blink/val.jsonl")]
    rows: list[list[list[Row]]] = [[], []]
    for number in range(scenes):
        room = make_room(writer.scene_seed(split, seed, number)).at(0.0)
        clip = render(room, width=size, height=size, frames=8)
        questions = (cvbench(room, clip), blink(room, clip))
        for file, groups, group in zip(files, rows, questions, strict=True):
            writer.swept(writer.swept(file.parent) / "pictures")
            groups.append(group)
            asked = {value for row in group for key, value in row.items() if key.startswith("image")}
            for frame, pixels in enumerate(clip.rgb):
                picture = file.parent / _picture(room, frame)
                if _picture(room, frame) in asked and not picture.is_file():
                    writer.write_picture(picture, pixels)
        progress(number + 1, scenes, False)
    numbered = [writer.numbered(groups, "idx") for groups in rows]
    return [writer.write_lines(file, table) for file, table in zip(files, numbered, strict=True)]


def _picture(room: Room, frame: int) -> str:
    """File of a frame, from the folder of the records."""
    return f"pictures/{room.name}_{frame}.png"


def cvbench(room: Room, clip: Clip) -> list[Row]:
    """Count, Relation, Depth and Distance, one question each where the first frame has an answer."""
    rng = Rng(room.version, room.seed, 6)
    shown, single = _in_first_frame(room, clip)
    rows = {
        "Count": _count(rng, shown),
        "Relation": _compared(rng, single, partial(_column, clip), _APART, _RELATION, ["left", "right"]),
        "Depth": _compared(rng, single, partial(_depth, clip), _METRES, "Which object" + _NEARER),
        "Distance": _closer(rng, single),
    }
    return [_cvbench_row(room, task, row) for task, row in rows.items() if row is not None]


def blink(room: Room, clip: Clip) -> list[Row]:
    """The three spatial sub-tasks, one question each where there is a plain answer."""
    rng, text = Rng(room.version, room.seed, 7), "Is the {a} at the left side of the {b}?"
    _, single = _in_first_frame(room, clip)
    rows = {
        "Multi-view_Reasoning": _camera_turn(rng, clip),
        "Relative_Depth": _compared(rng, single, partial(_depth, clip), _METRES, "Which thing" + _NEARER),
        "Spatial_Relation": _compared(rng, single, partial(_column, clip), _APART, text, ["yes", "no"]),
    }
    return [_blink_row(room, task, row) for task, row in rows.items() if row is not None]


def _count(rng: Rng, shown: list[Instance]) -> Row | None:
    """Number of things of a kind in the picture."""
    kinds = sorted({thing.category for thing in shown})
    if not kinds:
        return None
    kind = rng.pick(kinds)
    truth = sum(thing.category == kind for thing in shown)
    start = max(0, truth - rng.whole(0, 4))
    return _row(f"How many {plural(kind)} are in the image?", [str(start + n) for n in range(4)], str(truth))


def _compared(
    rng: Rng, things: list[Instance], value: Value, least: float, text: str, choices: Sequence[str] = ()
) -> Row | None:
    """The first choice, or name, is right where the first thing's value is lower, by ``least`` or more."""
    for a, b in rng.some(permutations(things, 2)):
        apart, names = value(a) - value(b), (a.category, b.category)
        if abs(apart) >= least:
            options = choices or names
            return _row(text.format(a=names[0], b=names[1]), options, options[int(apart > 0)])
    return None


def _column(clip: Clip, thing: Instance) -> float:
    """Mean column, 0..1, of the thing's pixels in the first frame."""
    return float(np.nonzero(clip.ids[0] == thing.id)[1].mean() / clip.ids.shape[2])


def _depth(clip: Clip, thing: Instance) -> float:
    """Median metres of the thing's pixels in the first frame."""
    return float(np.median(clip.depth[0][clip.ids[0] == thing.id]))


def _closer(rng: Rng, things: list[Instance]) -> Row | None:
    for a, b in rng.some(permutations(things, 2)):
        for target in rng.some([thing for thing in things if thing not in (a, b)]):
            apart = distance(target, a) - distance(target, b)
            if abs(apart) >= _METRES:
                text = _DISTANCE.format(target=target.category, a=a.category, b=b.category)
                return _row(text, (a.category, b.category), (b if apart > 0 else a).category)
    return None


def _camera_turn(rng: Rng, clip: Clip) -> Row | None:
    """Direction in which the camera turns between two frames, seen from above."""
    ways = [(i, j) for i in range(len(clip.poses)) for j in (i + 1, i + 2) if j < len(clip.poses)]
    for i, j in rng.some(ways):
        first, second = (math.atan2(*clip.poses[frame][:2, 2][::-1]) for frame in (i, j))
        turn = math.remainder(second - first, 2 * math.pi)
        if _TURN <= abs(turn) <= math.pi / 2:
            return {**_row(_CAMERA, ["left", "right"], "left" if turn > 0 else "right"), "frames": [i, j]}
    return None


def _row(question: str, choices: Sequence[str], truth: str) -> Row:
    return {"question": question, "choices": [*choices], "answer": f"({LETTERS[choices.index(truth)]})"}


def _cvbench_row(room: Room, task: str, row: Row) -> Row:
    flat = task in ("Count", "Relation")
    name = f"{room.name}_0.png"
    return {
        "type": "2D" if flat else "3D",
        "task": task,
        "image": _picture(room, 0),
        **row,
        "prompt": f"{row['question']} Select from the following choices.\n{_options(row, ' ')}",
        "filename": name,
        "source": "COCO" if flat else "Omni3D",
        "source_dataset": "rooms",
        "source_filename": name,
    }


def _blink_row(room: Room, task: str, row: Row) -> Row:
    options = _options(row, "\n")
    prompt = f"{row['question']}\nSelect from the following choices.\n{options}"
    frames = enumerate(row.pop("frames", [0]), start=1)
    pictures = {f"image_{number}": _picture(room, frame) for number, frame in frames}
    return {"sub_task": task, **row, **pictures, "prompt": prompt, "explanation": "", "scene_name": room.name}


def _options(row: Row, between: str) -> str:
    return between.join(f"({letter}) {text}" for letter, text in zip(LETTERS, row["choices"], strict=False))


def _in_first_frame(room: Room, clip: Clip) -> tuple[list[Instance], list[Instance]]:
    """Things that the first frame shows plainly, and those that are alone of their category in the room."""
    visible = Visibility(room, clip.ids[:1], _SHOWN)
    shown = list(visible.shown.values())
    return shown, [thing for thing in shown if thing.category in visible.unique]
