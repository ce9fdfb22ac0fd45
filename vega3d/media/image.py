"""Load one picture of any source as uint8 (3, H, W) in RGB, the input of both sides of a wrapped model.

Follows transformers in turning a picture upright by its EXIF tag, and qwen-vl-utils in laying a transparent
one over white. Never resizes: the encoder of the picture chooses its size.

Memory is bounded: a file is decoded once, in at most ``MAX_PIXELS`` pixels, and converted strip by strip.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor

from vega3d.errors import MediaError
from vega3d.media.source import ACCEPTED, open_source, shown

MAX_PIXELS = 2**27
"""Largest picture, or frame of a video, that is decoded: 134 million pixels, below 2 GB of memory."""
FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO", "PCX", "SGI"),
    *("AVIF", "JPEG2000", "HEIF"),
)
"""Formats of Pillow that are read; none starts another program (as EPS does) or reads another file."""
STRIP = 2**20  # pixels that are converted at a time
# What Pillow raises half-way through a damaged file; its readers of headers do not check every index.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error)


def load_image(source: Any) -> Tensor:
    """One picture as uint8 (3, H, W), RGB, upright.

    Args:
        source: path, ``file://``, ``http(s)://`` or ``data:`` URI, bytes of an image file, PIL image, or an
            array or tensor (H, W), (H, W, 1|3|4) or (1|3|4, H, W): uint8, or floating in 0..1.

    Raises:
        MediaNotFoundError: no such file, or an address that cannot be reached.
        MediaError: not a picture, truncated, or of a size or value range that cannot be used.
    """
    if isinstance(source, (Tensor, np.ndarray)):
        return _from_array(as_tensor(source))
    with _opened(source) as image:
        image.load()
        upright = image.getexif().get(PIL.ExifTags.Base.Orientation, 1) == 1
        return _to_tensor(image if upright else PIL.ImageOps.exif_transpose(image))


def image_size(source: Any) -> tuple[int, int]:
    """Height and width that ``load_image`` would give; of a file only the header is read."""
    if isinstance(source, (Tensor, np.ndarray)):
        picture = _from_array(as_tensor(source))
        return picture.shape[1], picture.shape[2]
    with _opened(source) as image:
        lying = image.getexif().get(PIL.ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return (image.width, image.height) if lying else (image.height, image.width)


@contextmanager
def _opened(source: Any) -> Iterator[PIL.Image.Image]:
    """A picture whose header was read; every failure of Pillow inside becomes a MediaError."""
    file, name = None if isinstance(source, PIL.Image.Image) else open_source(source), shown(source)
    try:
        if file is None:
            if not source.width or not source.height:
                raise _not_a_picture(name, f"{source.width}x{source.height}")
            yield source
            return
        with PIL.Image.open(file, formats=formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise too_many_pixels(name, f"{image.width}x{image.height}")
            yield image
    except MediaError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise too_many_pixels(name, str(error)) from error
    except (PIL.UnidentifiedImageError, IsADirectoryError) as error:
        raise _not_a_picture(name, "a folder, or bytes of none of: " + ", ".join(FORMATS)) from error
    except _BROKEN as error:
        what, fix = f"Cannot decode {name}: it is truncated or damaged.", "copy or download it again"
        raise MediaError(what, got=str(error), expected="a complete image file", fix=fix) from error


def formats() -> list[str]:
    """Those of ``FORMATS`` that this Pillow reads."""
    PIL.Image.init()
    return [name for name in FORMATS if name in PIL.Image.OPEN]


def too_many_pixels(name: str, got: str) -> MediaError:
    """The error for a picture or a frame above ``MAX_PIXELS``, or above Pillow's own limit."""
    what = f"Cannot decode {name}: it has too many pixels, {got}."
    most = min(MAX_PIXELS, 2 * (PIL.Image.MAX_IMAGE_PIXELS or MAX_PIXELS))
    return MediaError(what, got=got, expected=f"at most {most} pixels", fix="scale it down")


def _to_tensor(image: PIL.Image.Image) -> Tensor:
    """uint8 (3, H, W) of a decoded picture; a whole copy in between would cost as much as the picture."""
    top = _brightest(image)
    pixels = np.empty((3, image.height, image.width), np.uint8)
    for row, strip in _strips(image):
        if top is not None:
            strip = _to_eight_bits(strip, top)
        pixels[:, row : row + strip.height] = np.asarray(_to_rgb(strip)).transpose(2, 0, 1)
    return torch.from_numpy(pixels)


def _strips(image: PIL.Image.Image) -> Iterator[tuple[int, PIL.Image.Image]]:
    """The picture in parts of about ``STRIP`` pixels, each with the number of its first row."""
    rows = max(1, STRIP // image.width)
    for row in range(0, image.height, rows):
        yield row, image.crop((0, row, image.width, min(row + rows, image.height)))


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        over = PIL.Image.new("RGB", image.size, (255, 255, 255))
        over.paste(image, mask=image.getchannel("A"))
        return over
    return image.convert("RGB")


def _brightest(image: PIL.Image.Image) -> float | None:
    """The value that is white, for grey of more than 8 bits, where Pillow would clip; else None."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return None
    ends = [(part.min(), part.max()) for part in (np.asarray(strip) for _, strip in _strips(image))]
    low, high = (float(value) for value in (np.min(ends), np.max(ends)))  # NaN where one is
    top = 1.0 if image.mode == "F" else 65535.0 if image.mode != "I" or high > 255 else 255.0
    if not (low >= 0 and high <= top):
        what, got = (
            f"Invalid gray picture: mode {image.mode!r} has values outside 0..{top:g}.",
            f"{low:g}..{high:g}",
        )
        raise MediaError(what, got=got, expected=f"0..{top:g}", fix="scale it to 8 bits before")
    return top


def _to_eight_bits(image: PIL.Image.Image, top: float) -> PIL.Image.Image:
    """Grey of 16 bits (modes I;16 and I) or floating grey in 0..1 as 8 bits."""
    values = np.asarray(image, dtype=np.float64)
    return PIL.Image.fromarray(np.rint(values * (255.0 / top)).astype(np.uint8))


def _from_array(array: Tensor) -> Tensor:
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or not array.numel():
        raise _not_a_picture("An array", f"shape {tuple(array.shape)}")
    first, last = array.shape[0], array.shape[2]
    if first not in (3, 4) and (last in (3, 4) or (last == 1 and first != 1)):
        array = array.permute(2, 0, 1)  # (H, W, c) -> (c, H, W)
    if array.shape[0] not in (1, 3, 4):
        raise _not_a_picture("An array", f"shape {tuple(array.shape)}")
    pixels = to_uint8(array)
    if pixels.shape[0] == 4:
        return _to_tensor(PIL.Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy(), "RGBA"))
    return pixels.expand(3, -1, -1).cpu().contiguous()


def as_tensor(array: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """An array as a tensor; one of numpy's is copied, for it may be read-only or run backwards."""
    return array if isinstance(array, Tensor) else torch.from_numpy(np.array(array, order="C"))


def to_uint8(array: Tensor) -> Tensor:
    """Any array of pixels as uint8: uint8 as it is, floating in 0..1 scaled and rounded."""
    if array.dtype == torch.uint8:
        return array
    got = str(array.dtype)
    if array.is_floating_point():
        low, high = float(array.min()), float(array.max())
        if low >= 0.0 and high <= 1.0:
            return (array.float() * 255.0).round().to(torch.uint8)
        got += f" in {low:g}..{high:g}"
    what, expected = "Invalid values of an array of pixels.", "uint8, or floating point in 0..1"
    raise MediaError(what, got=got, expected=expected, fix="pass uint8; undo any normalisation first")


def _not_a_picture(name: str, got: str) -> MediaError:
    what, fix = f"Cannot decode {name}: it is not a picture.", "check what is passed"
    return MediaError(what, got=got, expected=ACCEPTED, fix=fix)
