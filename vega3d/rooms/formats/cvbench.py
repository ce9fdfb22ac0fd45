"""Questions about single pictures in CV-Bench's and BLINK's layout, with the pictures beside them."""

from __future__ import annotations

from pathlib import Path

from vega3d.rooms.formats.writer import (
    Progress,
    Row,
    Split,
    numbered,
    require_something,
    scene_seed,
    swept,
    write_lines,
    write_picture,
)
from vega3d.rooms.layout import make_room
from vega3d.rooms.picture_questions import blink, cvbench
from vega3d.rooms.renderer import Clip, render
from vega3d.rooms.scene import Room


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
    """
    require_something(scenes, size)
    files = [Path(out) / name for name in ("cvbench/test.jsonl", "blink/val.jsonl")]
    rows: list[list[list[Row]]] = [[], []]
    for number in range(scenes):
        room = make_room(scene_seed(split, seed, number)).at(0.0)
        clip = render(room, width=size, height=size, frames=8)
        questions = (cvbench(room, clip), blink(room, clip))
        for file, groups, group in zip(files, rows, questions, strict=True):
            folder = swept(swept(file.parent) / "pictures")
            groups.append([_with_pictures(folder, room, clip, row) for row in group])
        if progress is not None:
            progress(number + 1, scenes, False)
    return [write_lines(file, numbered(groups, "idx")) for file, groups in zip(files, rows, strict=True)]


def _with_pictures(folder: Path, room: Room, clip: Clip, row: Row) -> Row:
    """Write the row's pictures; a list of a frame's number becomes the name of a file."""
    names = {}
    for key, value in row.items():
        if key.startswith("image"):
            picture = folder / f"{room.name}_{value[0]}.png"
            if not picture.is_file():
                write_picture(picture, clip.rgb[value[0]])
            names[key] = f"pictures/{picture.name}"
    return {**row, **names}
