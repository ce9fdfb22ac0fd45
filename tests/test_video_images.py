"""Pictures from every kind of source, as uint8 (3, H, W)."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from tests import media
from vega3d.errors import InputError, MediaError, MediaNotFoundError
from vega3d.media.image import load_image


def as_tensor(image: PIL.Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


@pytest.fixture
def photo() -> PIL.Image.Image:
    return media.photo(37, 21)


@pytest.fixture
def file(photo: PIL.Image.Image, tmp_path: Path) -> Path:
    photo.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_picture_is_the_same_from_every_kind_of_source(photo: PIL.Image.Image, file: Path) -> None:
    pixels = np.array(photo)
    uri = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
    sources: list[Any] = [
        file,
        str(file),
        f"file://{file}",
        file.read_bytes(),
        uri,
        photo,
        pixels,
        pixels[:, :, ::-1].copy()[:, :, ::-1],
        np.asarray(photo),
        torch.from_numpy(pixels),
        torch.from_numpy(pixels).permute(2, 0, 1),
        torch.from_numpy(pixels).permute(2, 0, 1).double() / 255,
    ]
    for source in sources:
        got = load_image(source)
        assert got.dtype == torch.uint8
        assert torch.equal(got, as_tensor(photo))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_of_pillow_becomes_three_channels(mode: str) -> None:
    grey = media.photo(30, 20, mode="L")
    if mode == "I;16":
        image = PIL.Image.fromarray(np.array(grey, dtype=np.uint16) * 257)
    elif mode == "F":
        image = PIL.Image.fromarray(np.array(grey, dtype=np.float32) / 255)
    else:
        image = media.photo(30, 20).convert(mode)
    assert image.mode == mode
    assert load_image(image).shape == (3, 20, 30)


@pytest.mark.parametrize("name", ["grey.png", "grey.tiff"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    PIL.Image.fromarray(values).save(tmp_path / name)
    assert load_image(tmp_path / name)[0].tolist() == [[0, 1, 128, 255]]


def test_transparency_lies_over_white_as_in_qwen_vl_utils() -> None:
    image = PIL.Image.new("RGBA", (2, 5), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    assert load_image(image)[:, 0].T.tolist() == [[200, 0, 0], [255, 255, 255]]
    assert torch.equal(load_image(np.array(image)), load_image(image))


def test_a_transparent_palette_lies_over_white(tmp_path: Path) -> None:
    image = PIL.Image.new("P", (1, 1), 0)
    image.putpalette([10, 20, 30])
    image.save(tmp_path / "a.png", transparency=0)
    assert load_image(tmp_path / "a.png").flatten().tolist() == [255, 255, 255]


def test_a_picture_is_turned_upright_by_its_exif_tag(photo: PIL.Image.Image, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    photo.save(tmp_path / "a.png", exif=exif)
    upright = as_tensor(photo.transpose(PIL.Image.Transpose.ROTATE_270))
    assert torch.equal(load_image(tmp_path / "a.png"), upright)


def test_a_truncated_picture_is_an_error(photo: PIL.Image.Image, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.webp"):
        buffer = io.BytesIO()
        media.photo(200, 150).save(buffer, {"a.png": "PNG", "a.jpg": "JPEG", "a.webp": "WEBP"}[name])
        (tmp_path / name).write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        with pytest.raises(MediaError, match=name):
            load_image(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"hello, this is text"])
def test_a_file_that_is_no_picture_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(MediaError, match="not a picture"):
        load_image(tmp_path / "a.png")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="not a picture"):
        load_image(tmp_path)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match=r"nowhere\.png"):
        load_image(tmp_path / "nowhere.png")


def test_an_address_that_does_not_answer_says_to_download_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEGA3D_ALLOW_HOSTS", "127.0.0.1")
    with pytest.raises(MediaNotFoundError, match=r"is a URL[\s\S]*download"):
        load_image("https://127.0.0.1:9/photo.png")


def test_a_damaged_data_uri_is_an_error() -> None:
    with pytest.raises(MediaError, match="data URI"):
        load_image("data:image/png;base64,%%%")


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5), (5, 7, 9), (0, 4, 3)])
def test_an_array_of_another_shape_is_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(MediaError, match="not a picture"):
        load_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "array",
    [
        np.full((4, 5, 3), 1.5),
        np.full((4, 5, 3), -0.1),
        np.full((4, 5, 3), np.nan),
        np.zeros((4, 5, 3), np.int64),
    ],
)
def test_values_that_are_no_pixels_are_refused(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(MediaError, match="Invalid values of an array of pixels"):
        load_image(array)


def test_an_object_that_is_no_source_is_refused() -> None:
    with pytest.raises(InputError, match="type int"):
        load_image(7)
