"""HTML pages in one file: text is escaped, and nothing but the page's own script can run.

A page contains its style, its script and its pictures, so it can be mailed and opened anywhere. Jinja escapes
every value. The content security policy allows no address, and only the script with the right checksum.
"""

from __future__ import annotations

import base64
import hashlib
import io
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import PIL.Image
from markupsafe import Markup

ROOT = Path(__file__).parents[1]


def render(template: str, title: str, *, assets: str = "", **values: Any) -> str:
    """Render a page.

    Args:
        template: path of the template below the package.
        title: of the page.
        assets: template whose style and script are used; the files of its name that end in ``.css`` and
            ``.js``. The default is the template itself.
        values: of the template; text is escaped.
    """
    script = _text(assets or template, ".js")
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = {
        "style": Markup(_text("_utils/page.html", ".css") + _text(assets or template, ".css")),
        "script": Markup(script),
        "script_source": Markup(f"'sha256-{checksum}'" if script else "'none'"),
    }
    return _environment().get_template(template).render(title=title, **values, **page)


def jpeg_uri(pixels: np.ndarray[Any, np.dtype[np.uint8]], quality: int = 85, side: int | None = None) -> str:
    """A picture (H, W, 3) as an address that contains it.

    Args:
        pixels: uint8.
        quality: of the JPEG.
        side: longest shorter side in pixels; None keeps the size.
    """
    buffer, picture = io.BytesIO(), PIL.Image.fromarray(pixels)
    if side is not None and (scale := side / min(picture.size)) < 1:
        picture = picture.resize(tuple(max(1, round(scale * length)) for length in picture.size))
    picture.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _text(template: str, suffix: str) -> str:
    """The file beside a template, without its last line break; empty if there is none."""
    file = (ROOT / template).with_suffix(suffix)
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""
