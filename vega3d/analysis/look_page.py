"""The page of a clip: one file, with a slider over frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from vega3d._utils.page import jpeg_uri, render
from vega3d.analysis.look import Look, Row, Scale
from vega3d.analysis.pictures import heat


def page(look: Look) -> str:
    """A self-contained HTML page: for each frame its features, gate and contribution."""
    about = look.about
    values: dict[str, Any] = {
        "about": about,
        "note": look.note,
        "times": look.times,
        "rows": [_row(name, row, look.times) for name, row in look.rows.items()],
        "ramp": _ramp(),
        "numbers": look.numbers,
    }
    return render("analysis/look.html", f"vega3d look {about.video}".strip(), **values)


def _row(name: str, row: Row, times: list[str]) -> dict[str, Any]:
    pictures = [
        {
            "uri": jpeg_uri(picture),
            "frames": " ".join(map(str, described)),
            "times": " and ".join(times[frame] for frame in described),
        }
        for picture, described in zip(row.pictures, row.frames, strict=True)
    ]
    return {"name": name, "title": row.title, "pictures": pictures, "ticks": _ticks(row.scale)}


def _ticks(scale: Scale | None) -> list[dict[str, Any]]:
    """Texts of a colour bar, with their places in percent."""
    if scale is None:
        return []
    return [
        {"place": round(100 * float(scale.places(np.asarray(value))), 1), "text": text}
        for value, text in scale.ticks
    ]


def _ramp() -> str:
    """The colours of a scale as stops of a CSS gradient."""
    colours = heat(np.linspace(0, 1, 9, dtype=np.float32)[None], 0.0, 1.0)[0]
    return ", ".join("#" + "".join(f"{part:02x}" for part in colour) for colour in colours)
