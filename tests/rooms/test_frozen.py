"""Rooms are frozen: a seed gives the same scene, the same questions and the same files in every release.

`tests/goldens/rooms/digests.json` was written by `python -m tests.rooms.test_frozen`. Text and exact numbers
are compared. Colours are not: sines and codecs differ between libraries.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vega3d.rooms import export_rooms, make_chat_questions, make_questions, make_room, render, rooms_tag
from vega3d.rooms.ames import export_ames
from vega3d.rooms.formats.cvbench import export_pictures
from vega3d.rooms.formats.scannet import export_scannet

GOLDEN = Path(__file__).parents[1] / "goldens" / "rooms" / "digests.json"
SMALL = {"width": 64, "height": 48, "frames": 6}
FORMATS: dict[str, Callable[[Path], object]] = {
    "rooms": lambda out: export_rooms(out, 2, 5, **SMALL, geometry=True),
    "held out": lambda out: export_rooms(out, 1, 5, **SMALL, held_out=True),
    "scannet train": lambda out: export_scannet(out, 2, 1, split="train", **SMALL),
    "scannet val": lambda out: export_scannet(out, 2, 1, split="val", **SMALL),
    "ames": lambda out: export_ames(out, 1, 0, width=32, height=32),
    "pictures": lambda out: export_pictures(out, 4, 3, size=64),
}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def exact(file: Path) -> bytes:
    """The part of a file that is the same on every machine; nothing of a picture or video in colour."""
    if file.suffix in (".json", ".jsonl", ".txt"):
        return file.read_bytes()
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            return b"".join(arrays[name].tobytes() for name in ("depth", "ids", "classes", "K", "poses"))
    if file.suffix == ".png" and "posed_images" in file.parts:
        return np.asarray(Image.open(file), dtype=np.uint16).tobytes()  # depth in millimetres
    return b""


def files(format: str, out: Path) -> dict[str, str]:
    FORMATS[format](out)
    written = sorted(file for file in out.rglob("*") if file.is_file())
    return {str(file.relative_to(out)): digest(exact(file)) for file in written}


def scene(seed: int) -> str:
    """One digest of a room, its exact images, and its questions."""
    room = make_room(seed)
    clip = render(room, width=64, height=64, frames=12)
    questions = [question.to_record() for question in make_questions(room, clip, draw=seed % 2)]
    chat = [[q.family, q.question, q.answer] for q in make_chat_questions(room, clip, draw=seed % 2)]
    images = b"".join(array.tobytes() for array in (clip.depth, clip.ids, clip.classes, clip.poses, clip.K))
    return digest(json.dumps([asdict(room), questions, chat, rooms_tag(seed)]).encode() + images)


@pytest.mark.parametrize("seed", range(6))
def test_a_seed_gives_the_scene_and_the_questions_that_it_always_gave(seed: int) -> None:
    assert scene(seed) == json.loads(GOLDEN.read_text())["scenes"][seed]


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_writes_the_files_that_it_always_wrote(format: str, tmp_path: Path) -> None:
    assert files(format, tmp_path) == json.loads(GOLDEN.read_text())["formats"][format]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        exported = {name: files(name, Path(folder) / name) for name in FORMATS}
    golden = {"scenes": [scene(seed) for seed in range(6)], "formats": exported}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
