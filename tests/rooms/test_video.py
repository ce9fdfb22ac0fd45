from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from vega3d.errors import InputError
from vega3d.rooms import make_room, render, rooms_source, rooms_tag, write_mp4
from vega3d.rooms import video as video_module
from vega3d.rooms.scene import ROOMS_VERSION


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_an_mp4_holds_nearly_the_frames_that_were_written(tmp_path: Path) -> None:
    clip = render(make_room(3), width=128, height=128, frames=12)
    write_mp4(tmp_path / "a.mp4", clip.rgb, clip.fps)
    back = decode(tmp_path / "a.mp4")
    assert back.shape == clip.rgb.shape
    assert np.abs(back.astype(int) - clip.rgb).mean() < 4
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == clip.fps


def test_the_same_frames_give_the_same_file(tmp_path: Path) -> None:
    frames = render(make_room(3), width=64, height=64, frames=4).rgb
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, frames, 8, comment=rooms_tag(3))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_saved_clip_names_its_room(tmp_path: Path) -> None:
    render(make_room(3), width=16, height=16, frames=2).save(tmp_path / "a.mp4")
    assert rooms_source(tmp_path / "a.mp4") == (3, ROOMS_VERSION)


def test_a_rooms_video_says_which_room_it_shows(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", np.zeros((2, 16, 16, 3), np.uint8), 8, comment=rooms_tag(42))
    assert rooms_source(tmp_path / "a.mp4") == (42, ROOMS_VERSION)


def test_other_videos_and_other_files_are_not_rooms_videos(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", np.zeros((2, 16, 16, 3), np.uint8), 8, comment="my holiday")
    (tmp_path / "b.mp4").write_bytes(b"no video at all")
    assert rooms_source(tmp_path / "a.mp4") is None
    assert rooms_source(tmp_path / "b.mp4") is None
    assert rooms_source(tmp_path / "nothing.mp4") is None


def test_a_write_that_fails_leaves_the_old_file_and_no_scraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")

    def fail(path: str, *rest: object) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(video_module, "_encode", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        write_mp4(tmp_path / "a.mp4", np.zeros((2, 16, 16, 3), np.uint8), 8)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((2, 15, 16, 3), np.uint8), "even"),
        (np.zeros((2, 16, 16, 3), np.float32), "uint8"),
        (np.zeros((0, 16, 16, 3), np.uint8), "uint8"),
    ],
)
def test_frames_that_cannot_be_written_are_named(tmp_path: Path, frames: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_mp4(tmp_path / "a.mp4", frames, 8)
