"""Recordings are read frame by frame, exported as posed images, and refused where they are damaged."""

from __future__ import annotations

import contextlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.scene3d import recordings
from vega3d.cli.main import main
from vega3d.errors import InputError, MediaError, MediaNotFoundError
from vega3d.scene3d import posed_images
from vega3d.scene3d.posed_images import MARK, export_sens
from vega3d.scene3d.sens import SensFrame, SensReader


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    with SensReader(recordings.write(tmp_path / "a.sens")) as reader:
        header, frames = reader.header, list(reader.frames())
        assert (header.sensor, header.frames, header.depth_shift) == ("StructureSensor", 5, 1000)
        assert (header.color_size, header.depth_size) == (recordings.COLOUR, recordings.DEPTH)
        read = header.cameras
        assert all(np.array_equal(a, b) for a, b in zip(read, recordings.matrices(), strict=True))
        for number, frame in enumerate(frames):
            assert frame.number == number
            assert frame.times == (10 * number, 10 * number + 1)
            assert np.array_equal(frame.pose, recordings.pose_of(number))
            assert np.array_equal(reader.decode_depth(frame), recordings.depth_of(number))
            assert frame.color == recordings.picture(number, 2)


@pytest.mark.parametrize("color", [0, 1, 2])
@pytest.mark.parametrize("depth", [0, 1])
def test_each_codec_is_exported(color: int, depth: int, tmp_path: Path) -> None:
    made = export_sens(recordings.write(tmp_path / "a.sens", color=color, depth=depth), tmp_path / "out")
    assert made.written == (0, 1, 2, 3, 4)
    with Image.open(made.folder / "00003.png") as picture:
        assert np.array_equal(np.asarray(picture), recordings.depth_of(3))
    with Image.open(made.folder / "00003.jpg") as picture:
        assert picture.size == recordings.COLOUR
        assert picture.format == "JPEG"


def test_an_export_has_the_layout_of_posed_images(tmp_path: Path) -> None:
    made = export_sens(recordings.write(tmp_path / "a.sens", frames=3), tmp_path / "out")
    frames = {f"{number:05d}.{kind}" for number in range(3) for kind in ("jpg", "png", "txt")}
    names = {path.name for path in made.folder.iterdir()}
    assert names == frames | {"intrinsic.txt", "depth_intrinsic.txt", MARK}
    assert np.array_equal(np.loadtxt(made.folder / "00002.txt"), recordings.pose_of(2))
    assert np.array_equal(np.loadtxt(made.folder / "intrinsic.txt"), recordings.matrices()[0])
    assert np.array_equal(np.loadtxt(made.folder / "depth_intrinsic.txt"), recordings.matrices()[2])
    assert (made.folder / "00001.jpg").read_bytes() == recordings.picture(1, 2)


def test_frames_without_a_finite_pose_are_counted_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recordings.write(tmp_path / "a.sens", lost=(1, 2))
    assert main(["scenes", "sens", str(file), str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == str(tmp_path / "out")
    assert "3 frames, 2 left out because their pose is not finite" in shown.err
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.jpg")) == ["00000", "00003", "00004"]


def test_every_other_frame_keeps_its_number(tmp_path: Path) -> None:
    made = export_sens(recordings.write(tmp_path / "a.sens"), tmp_path / "out", every=2)
    assert made.written == (0, 2, 4)
    assert not (made.folder / "00001.jpg").exists()


def test_depth_in_other_steps_is_written_in_millimetres(tmp_path: Path) -> None:
    with SensReader(recordings.write(tmp_path / "a.sens", shift=500.0)) as reader:
        frame = next(reader.frames())
        assert np.array_equal(reader.decode_depth(frame), 2 * recordings.depth_of(0))


def test_an_interrupted_export_is_repeated_from_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out, numbers = recordings.write(tmp_path / "a.sens"), tmp_path / "out", []
    write_frame = posed_images._write_frame

    def write(folder: Path, reader: SensReader, frame: SensFrame) -> None:
        numbers.append(frame.number)
        if numbers == [0, 1, 2, 3]:
            raise KeyboardInterrupt
        write_frame(folder, reader, frame)

    monkeypatch.setattr(posed_images, "_write_frame", write)
    with pytest.raises(KeyboardInterrupt):
        export_sens(file, out)
    assert export_sens(file, out).written == (0, 1, 2, 3, 4)
    assert numbers == [0, 1, 2, 3, 3, 4]


def test_a_folder_of_another_recording_is_refused(tmp_path: Path) -> None:
    export_sens(recordings.write(tmp_path / "a.sens"), tmp_path / "out")
    with pytest.raises(InputError, match="Invalid folder"):
        export_sens(recordings.write(tmp_path / "b.sens", frames=2), tmp_path / "out")


def test_memory_stays_below_three_frames(tmp_path: Path) -> None:
    sizes = {"color_size": (1296, 968), "depth_size": (640, 480)}
    file = recordings.write(tmp_path / "a.sens", frames=12, color=0, depth=0, **sizes)
    tracemalloc.start()
    with SensReader(file) as reader:
        assert sum(reader.decode_depth(frame).shape == (480, 640) for frame in reader.frames()) == 12
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * (3 * 1296 * 968 + 2 * 640 * 480)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"version": 3}, "Invalid version"),
        ({"depth": 2}, "occi_ushort"),
        ({"depth": -1}, "Invalid codec of depth"),
        ({"color": -1}, "Invalid codec of colour"),
        ({"shift": 0.0}, "Invalid unit of depth"),
        ({"name": b"x" * 5000}, "a name of 5000"),
    ],
)
def test_what_cannot_be_read_is_a_typed_error(settings: dict[str, object], text: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=text):
        SensReader(recordings.write(tmp_path / "a.sens", **settings))


def test_a_missing_file_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        SensReader(tmp_path / "a.sens")


def read_whole(path: Path) -> None:
    """Read, decode and encode every frame."""
    with SensReader(path) as reader:
        for frame in reader.frames():
            reader.decode_depth(frame)
            reader.encode_color(frame)


@pytest.mark.parametrize("color", [0, 1, 2])
def test_a_truncated_file_is_a_typed_error(color: int, tmp_path: Path) -> None:
    whole = recordings.recording(2, color=color, imu=0)[:-8]
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        (tmp_path / "a.sens").write_bytes(whole[:length])
        with pytest.raises(MediaError):
            read_whole(tmp_path / "a.sens")


def damaged(seed: int) -> bytes:
    """A recording with a few bytes changed, or cut off."""
    rng = np.random.default_rng(seed)
    content = bytearray(recordings.recording(2, color=seed % 3, depth=seed % 2))
    for _ in range(rng.integers(1, 6)):
        reach = 400 if rng.random() < 0.5 else len(content)  # heads are a small part of a file
        content[rng.integers(0, min(reach, len(content)))] = rng.integers(0, 256)
    return bytes(content[: rng.integers(0, len(content) + 1)] if rng.random() < 0.3 else content)


def check_damaged(seeds: range, folder: Path) -> None:
    for seed in seeds:
        (folder / "a.sens").write_bytes(damaged(seed))
        with contextlib.suppress(MediaError):
            read_whole(folder / "a.sens")


def test_damaged_files_raise_typed_errors_or_are_read(tmp_path: Path) -> None:
    check_damaged(range(60), tmp_path)


@pytest.mark.full
def test_a_thousand_damaged_files_raise_typed_errors_or_are_read(tmp_path: Path) -> None:
    check_damaged(range(1000), tmp_path)
