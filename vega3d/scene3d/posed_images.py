"""The export of a recording in the layout of ScanNet's ``posed_images``.

A frame whose camera was lost has a pose that is not finite. It is counted and left out, since it would make
every coordinate NaN.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from vega3d._utils.files import make_folder, write_whole
from vega3d._utils.progress import Progress, no_progress
from vega3d.errors import InputError
from vega3d.scene3d.sens import Matrix, SensFrame, SensReader

MARK = "sens.json"


@dataclass(frozen=True)
class SensExport:
    """Result of an export.

    Attributes:
        folder: with the posed images.
        written: numbers of the frames in it.
        untracked: number of frames that were left out because their pose is not finite.
    """

    folder: Path
    written: tuple[int, ...]
    untracked: int


def export_sens(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    every: int = 1,
    progress: Progress = no_progress,
) -> SensExport:
    """Write the frames of a recording in the layout of ScanNet's ``posed_images``.

    For each frame there are ``NNNNN.jpg``, ``NNNNN.png`` (16-bit depth in millimetres) and ``NNNNN.txt`` (its
    pose); the scene has ``intrinsic.txt`` and ``depth_intrinsic.txt``. An interrupted export can be repeated:
    frames that are complete are kept.

    Args:
        file: the recording.
        out: folder of the scene; made if it is not there.
        every: 10 writes every tenth frame.
        progress: called after each frame.

    Raises:
        InputError: ``every`` is below 1, or the folder holds another recording.
        MediaError: the recording is damaged; frames before the damage are written.
        WriteError: a file cannot be written.
    """
    if every < 1:
        raise InputError("Invalid step between frames.", got=every, expected="1 or more")
    folder, written, untracked = make_folder(Path(out)), [], 0
    with SensReader(file) as reader:
        _claim(folder, reader)
        for name, matrix in zip(("intrinsic", "depth_intrinsic"), reader.header.cameras[::2], strict=True):
            _write(folder / f"{name}.txt", _as_text(matrix))
        total = -(-reader.header.frames // every)
        for done, frame in enumerate(reader.frames(every), 1):
            is_there = (folder / f"{frame.number:05d}.txt").exists()
            if not frame.is_tracked:
                untracked += 1
            else:
                written.append(frame.number)
                if not is_there:
                    _write_frame(folder, reader, frame)
            progress(done, total, is_there)
    return SensExport(folder, tuple(written), untracked)


def _write_frame(folder: Path, reader: SensReader, frame: SensFrame) -> None:
    """Picture, depth and pose; the pose last, since it marks a frame as complete."""
    name, depth = f"{frame.number:05d}", Image.fromarray(reader.decode_depth(frame))
    _write(folder / f"{name}.jpg", reader.encode_color(frame))
    write_whole(folder / f"{name}.png", partial(depth.save, format="PNG"))
    _write(folder / f"{name}.txt", _as_text(frame.pose))


def _claim(folder: Path, reader: SensReader) -> None:
    """Name the recording in the folder, or refuse a folder with another one."""
    record = {"bytes": reader.path.stat().st_size, **vars(reader.header)}
    record["cameras"] = [matrix.tolist() for matrix in reader.header.cameras]
    text, mark = json.dumps(record, indent=2) + "\n", folder / MARK
    if mark.exists() and mark.read_text(encoding="utf-8") != text:
        title, fix = f"Invalid folder {str(folder)!r}.", "export to another folder"
        raise InputError(title, got="frames of another recording", expected="an empty folder", fix=fix)
    _write(mark, text.encode())


def _write(file: Path, content: bytes) -> None:
    write_whole(file, lambda part: part.write_bytes(content))


def _as_text(matrix: Matrix) -> bytes:
    return "".join(" ".join(f"{value:f}" for value in row) + "\n" for row in matrix).encode()
