"""One odd file never stops a build: it is named at the end, and the rest is stored."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import media
from tests.test_hostile_media import write_blank_png
from vega3d.cli.main import main
from vega3d.store import FeatureStore

pytestmark = pytest.mark.filterwarnings("ignore:No frame rate", "ignore:Image size")
BUILD = ["--backbone", "pico", "--set", "pixels=2304", "--set", "block=1", "--nframes", "4"]


def damaged(path: Path) -> None:
    """A jpeg of the right size that ends half-way."""
    media.photo(64, 48).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:600])


HOSTILE: dict[str, Callable[[Path], object]] = {
    "empty.mp4": lambda path: path.write_bytes(b""),
    "text.mp4": lambda path: path.write_text("hello"),
    "truncated.mp4": media.write_truncated,
    "no_frames.mp4": media.write_no_frames,
    "sound.mp4": media.write_sound,
    "list.mp4": lambda path: path.write_text("ffconcat version 1.0\nfile good.mp4\n"),
    "playlist.mp4": lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\ngood.mp4\n"),
    "pipe.mp4": os.mkfifo,
    "pipe.png": os.mkfifo,
    "bomb.png": lambda path: write_blank_png(path, 20_000, 20_000, 1, 0),
    "large.png": lambda path: write_blank_png(path, 12_000, 12_000, 1, 0),
    "damaged.jpg": damaged,
    "script.png": lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "loop.mp4": lambda path: path.symlink_to(path.name),
    "missing.mp4": lambda path: None,
    "x" * 300 + ".mp4": lambda path: None,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good video, one with a title that is not UTF-8, one with such a name, and every hostile file."""
    media.write_video(tmp_path / "good.mp4", 5)
    media.write_video(tmp_path / "latin.mp4", 6, title="Café", metadata_encoding="latin-1")
    shutil.copyfile(media.write_video(tmp_path / "7.mp4", 7), os.fsencode(tmp_path) + b"/\xff.mp4")
    for name, write in HOSTILE.items():
        write(tmp_path / name)
    (tmp_path / "frames").mkdir()
    os.mkfifo(tmp_path / "frames" / "0.png")
    return tmp_path


@pytest.mark.timeout(120)
def test_one_odd_file_never_stops_a_build(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsdecode(b"\xff.mp4")
    names = ["good.mp4", "latin.mp4", odd, "frames", *HOSTILE]
    store = folder / "store"
    assert (
        main(["cache", "build", str(store), "--media", *(str(folder / name) for name in names), *BUILD]) == 1
    )
    out, err = capsys.readouterr()
    assert out.startswith("12 runs computed")  # four frames of three videos
    assert f"{len(HOSTILE) + 1} media could not be used" in err
    for name in HOSTILE:
        assert name[:40] in err
    assert len(list(FeatureStore(store).entries())) == 12


ROWS: list[Any] = [
    {"video": "good.mp4"},
    5,
    {"messages": 5},
    {"video": "http://127.0.0.1/a.mp4"},
    {"video": "../good.mp4"},
    {"video": "/etc/passwd"},
    {"messages": [{"role": "user", "content": [{"type": "video", "video": "good.mp4", "nframes": "x"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png", "min_pixels": 1e12}]}]},
    {"image": "a\0b.png"},
    {"image": "\ud800.png"},
]


def test_one_odd_row_never_stops_a_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "media").mkdir()
    media.write_video(tmp_path / "media" / "good.mp4", 5)
    lines = [json.dumps(row) for row in ROWS] + ["[" * 100_000, "{", '{"video": "good.mp4"}']
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    words = [str(tmp_path / "store"), str(tmp_path / "train.jsonl"), "--root", str(tmp_path / "media")]
    assert main(["cache", "build", *words, *BUILD]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("4 runs computed, 0 were there, 8 asked for")
    assert f"{len(ROWS) + 1} media could not be used" in err
    for number in range(1, len(ROWS) + 2):
        assert f"row {number}" in err
