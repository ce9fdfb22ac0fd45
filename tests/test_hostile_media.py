"""Files that are made to hang, fill the memory, or open another file: each is a typed error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
import torch

from tests import media
from vega3d.errors import InputError, MediaError, MediaNotFoundError
from vega3d.inputs.messages import VideoRequest
from vega3d.inputs.source import plan_video
from vega3d.media.decoding import pictures_of, probe, read_frames
from vega3d.media.frame_plan import FramePlan
from vega3d.media.image import MAX_PIXELS, image_size, load_image
from vega3d.rooms.video import rooms_source
from vega3d.store.format import identify

ROOT = Path(__file__).parents[1]


def test_a_title_that_is_not_utf_8_does_not_matter(tmp_path: Path) -> None:
    clip = media.write_video(tmp_path / "a.mp4", 5, title="Café")
    latin = media.write_video(tmp_path / "b.mp4", 5, title="Café", metadata_encoding="latin-1")
    assert b"Caf\xe9" in Path(latin).read_bytes()
    assert probe(latin).n_frames == 5
    assert torch.equal(read_frames(latin, [0, 4]), read_frames(clip, [0, 4]))
    assert rooms_source(latin) is None


@pytest.mark.parametrize(
    "content", ["ffconcat version 1.0\nfile other.mp4\n", "#EXTM3U\n#EXTINF:1,\nother.mp4\n"]
)
def test_a_list_that_names_other_files_is_no_video(tmp_path: Path, content: str) -> None:
    media.write_video(tmp_path / "other.mp4")
    (tmp_path / "list.mp4").write_text(content)
    with pytest.raises(MediaError, match="as a video"):
        probe(tmp_path / "list.mp4")


def test_a_video_in_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    clip = Path(media.write_video(tmp_path / "a.mp4"))
    clip.write_bytes(clip.read_bytes().replace(b"avc1", b"nop1"))
    with pytest.raises(MediaError, match="codec"):
        probe(clip)


def test_a_name_that_ffmpeg_takes_for_an_address_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    media.write_video(Path("secret.mp4"), 9)
    shutil.copyfile(media.write_video(Path("a.mp4"), 4), "concat:secret.mp4|secret.mp4")
    assert probe("concat:secret.mp4|secret.mp4").n_frames == 4


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi", "mov", "gif", "ts", "mpg", "flv", "wmv"])
def test_every_usual_container_is_read(tmp_path: Path, suffix: str) -> None:
    codecs = {"webm": "libvpx", "gif": "gif", "mpg": "mpeg2video", "wmv": "wmv2", "flv": "flv"}
    clip = media.write_video(tmp_path / f"a.{suffix}", 6, fps=25, codec=codecs.get(suffix, "mpeg4"))
    assert probe(clip).n_frames == 6


READERS: list[Callable[[Path], object]] = [load_image, image_size, probe, identify]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.timeout(20)
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for place in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises((MediaError, MediaNotFoundError), match="not a regular file"):
            read(place)


@pytest.mark.timeout(20)
def test_a_pipe_in_a_folder_of_frames_is_refused(tmp_path: Path) -> None:
    media.photo(8, 8).save(tmp_path / "1.png")
    os.mkfifo(tmp_path / "0.png")
    with pytest.raises(MediaError, match=r"0\.png.* not a regular file"):
        probe(tmp_path, fps=2.0)


@pytest.mark.parametrize("read", [load_image, image_size, probe])
@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 2500, "a\0b", "loop"])
def test_a_name_that_no_file_can_have_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: Callable[[str], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    os.symlink("loop", "loop")
    with pytest.raises(MediaNotFoundError, match="Missing file"):
        read(name)


def test_frames_whose_names_hold_digits_that_are_no_numbers_are_sorted(tmp_path: Path) -> None:
    for name in ("²1.png", "10.png", "2.png", "٣.png"):
        media.photo(8, 8).save(tmp_path / name)
    assert [file.name for file in pictures_of(tmp_path)][:2] == ["2.png", "٣.png"]


def test_a_name_that_is_not_utf_8_is_read(tmp_path: Path) -> None:
    clip = media.write_video(tmp_path / "a.mp4", 5)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")
    shutil.copyfile(clip, odd)
    assert probe(odd).n_frames == 5
    assert identify(odd) == identify(clip)


# --- size


def write_blank_png(path: Path, width: int, height: int, bits: int, colour: int) -> Path:
    """A PNG of zeros, of any size, without its pixels ever being in memory."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    row, packer = b"\0" * (1 + (width * channels * bits + 7) // 8), zlib.compressobj()
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, colour, 0, 0, 0])
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")):
            PIL.PngImagePlugin.putchunk(file, name, data)
    return path


def test_a_picture_above_the_limit_is_refused_by_its_header(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    bomb = write_blank_png(tmp_path / "bomb.png", side, side, 1, 0)
    for read in (load_image, image_size):
        with pytest.raises(MediaError, match=rf"bomb\.png.* {side}x{side}"):
            read(bomb)


# The peak of resident memory is reset after the imports, whose own peak would hide a small one.
PEAK = """
import pathlib, re, sys
from vega3d.media.image import load_image

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024

for file in sys.argv[1:]:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    load_image(file)
    print(peak() - before)
"""


def peaks(*files: Path) -> list[int]:
    """MiB that reading each of these pictures adds at most."""
    run = [sys.executable, "-c", PEAK, *map(str, files)]
    output = subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return [int(line) for line in output.split()]


KINDS = {(16, 0): 9, (1, 0): 9, (8, 2): 11, (8, 6): 11}
"""Bits and colour type of a PNG, and bytes that a pixel of it may take, strips and reader included."""


def test_a_picture_takes_few_bytes_a_pixel(tmp_path: Path) -> None:
    files = [write_blank_png(tmp_path / f"{kind}.png", 5000, 4000, *kind) for kind in KINDS]
    for peak, most in zip(peaks(*files), KINDS.values(), strict=True):
        assert peak * 2**20 < most * 5000 * 4000


@pytest.mark.full
@pytest.mark.parametrize("kind", [*KINDS, (16, 6)], ids=str)
def test_the_largest_picture_is_read_in_less_than_2_gb(tmp_path: Path, kind: tuple[int, int]) -> None:
    (peak,) = peaks(write_blank_png(tmp_path / "a.png", 2**14, 2**13, *kind))
    assert peak < 1536


def test_sixteen_bits_are_rounded_as_in_double_precision() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(values.astype(np.float64) * (255.0 / 65535.0)).astype(np.uint8)
    assert np.array_equal(load_image(PIL.Image.fromarray(values))[0].numpy(), expected)
    wide = PIL.Image.fromarray(values.astype(np.int32))
    assert np.array_equal(load_image(wide)[0].numpy(), expected)


def test_a_picture_of_many_strips_is_the_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1100, 4), dtype=np.uint8)
    image = PIL.Image.fromarray(noise, "RGBA")
    over = PIL.Image.new("RGB", image.size, (255, 255, 255))
    over.paste(image, mask=image.getchannel("A"))
    image.save(tmp_path / "a.png")
    assert np.array_equal(load_image(tmp_path / "a.png").permute(1, 2, 0).numpy(), np.array(over))


def test_sixteen_bits_in_the_other_byte_order_are_the_same(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=">u2")
    PIL.Image.frombytes("I;16B", (4, 1), values.tobytes()).save(tmp_path / "a.tiff")
    assert load_image(tmp_path / "a.tiff")[0].tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_a_picture_without_pixels_is_none(size: tuple[int, int]) -> None:
    with pytest.raises(MediaError, match="not a picture"):
        load_image(PIL.Image.new("RGB", size))


def test_floating_grey_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(MediaError, match="outside"):
        load_image(PIL.Image.fromarray(np.full((4, 5), np.nan, np.float32)))


def test_a_video_frame_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = media.write_video(tmp_path / "a.mp4", 5, size=(640, 480))
    monkeypatch.setattr("vega3d.media.decoding.MAX_PIXELS", 640 * 480 - 1)
    for read in (probe, lambda place: read_frames(place, [0])):
        with pytest.raises(MediaError, match="640x480"):
            read(clip)


def test_only_raster_formats_are_read(tmp_path: Path) -> None:
    media.photo(20, 20).save(tmp_path / "a.eps")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.eps").read_bytes())
    with pytest.raises(MediaError, match="not a picture"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff", "a.ppm", "a.jp2", "a.tga"]
)
def test_every_usual_format_is_read(tmp_path: Path, name: str) -> None:
    media.photo(20, 30).save(tmp_path / name)
    assert load_image(tmp_path / name).shape == (3, 30, 20)
    assert image_size(tmp_path / name) == (30, 20)


# --- sampling


@pytest.mark.parametrize(
    "sampling", [{"sample_fps": 0.0}, {"fps": 0.0}, {"raw_fps": 0.0, "fps": 1.0}], ids=str
)
def test_a_rate_of_zero_for_given_frames_is_refused(sampling: dict[str, float]) -> None:
    frames = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(InputError, match="fps"):
        plan_video(VideoRequest(frames, sampling=sampling), FramePlan.per_frame)


@pytest.mark.parametrize(
    "metadata", [{"fps": "x"}, {"fps": float("nan")}, {"fps": 1.0, "frames_indices": ["a", 1, 2, 3]}], ids=str
)
def test_metadata_that_are_no_numbers_are_refused(metadata: dict[str, object]) -> None:
    frames = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(InputError, match="video_metadata"):
        plan_video(VideoRequest(frames, metadata=metadata), FramePlan.per_frame)


def test_a_log_callback_that_could_block_the_decoder_is_taken_away(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", 3)
    av.logging.set_level(av.logging.ERROR)  # as torchvision.io did
    try:
        probe(tmp_path / "a.mp4")
        assert av.logging.get_level() is None
    finally:
        av.logging.set_level(None)
