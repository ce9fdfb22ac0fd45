"""A room as pictures: contact sheet, turntable, plan.

Decision: drawn with Pillow, which is imported here only; colours of things are those of the room, labels are
plain. Everything is drawn from the same scene graph and clip that the questions come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vega3d._utils.files import make_folder, write_whole
from vega3d.geometry import footprint, look_at
from vega3d.rooms.camera import camera_path
from vega3d.rooms.formats.writer import write_picture
from vega3d.rooms.furniture import COLOURS
from vega3d.rooms.renderer import render
from vega3d.rooms.scene import Room

if TYPE_CHECKING:
    from PIL.Image import Image

Picture = NDArray[np.uint8]
Label = tuple[float, float, float, float]
"""Left, top, right and bottom, pixels."""
_PIXELS_A_METRE = 90
_MARGIN = 40


def write_pictures(room: Room, out: str | Path) -> list[Path]:
    """Write `<room>_sheet.png`, `<room>_turntable.gif`, `<room>_plan.png`; returns their paths."""
    from PIL import Image

    folder = make_folder(Path(out))
    first, *rest = (Image.fromarray(frame) for frame in turntable(room))
    gif = {"save_all": True, "append_images": rest, "duration": 120, "loop": 0}
    return [
        write_picture(folder / f"{room.name}_sheet.png", contact_sheet(room)),
        write_whole(folder / f"{room.name}_turntable.gif", lambda part: first.save(part, "GIF", **gif)),
        write_picture(folder / f"{room.name}_plan.png", np.asarray(plan(room))),
    ]


def contact_sheet(room: Room, columns: int = 6, size: int = 192) -> Picture:
    """(3 * size, columns * size, 3): frames of the clip, their depth (near is bright), their ids."""
    indices = np.linspace(0, 47, columns).round().astype(int)
    clip = render(room, width=size, height=size, frames=48, indices=list(indices))
    near = 1 - np.clip(clip.depth / clip.depth.max(), 0, 1)
    depth = np.repeat((near * 255).astype(np.uint8)[..., None], 3, axis=-1)
    ids = _palette(len(room.instances) + 1)[clip.ids]
    rows = [np.concatenate(list(layer), axis=1) for layer in (clip.rgb, depth, ids)]
    return np.concatenate(rows, axis=0)


def turntable(room: Room, views: int = 24, size: int = 320) -> list[Picture]:
    """Pictures (size, size, 3) from outside and above; near walls and the ceiling are cut away."""
    reach = math.hypot(*room.size[:2]) / 2 * 2.4
    angles = np.arange(views) / views * 2 * np.pi
    eyes = np.stack([reach * np.cos(angles), reach * np.sin(angles), np.full(views, reach * 0.8)], axis=1)
    poses = [look_at(eye, (0, 0, room.size[2] * 0.2)) for eye in eyes]
    shots = [render(room, width=size, height=size, frames=1, poses=p[None], fov_x=50) for p in poses]
    return [shot.rgb[0] for shot in shots]


def plan(room: Room) -> Image:
    """The room from straight above: boxes, names, the ways of the camera and of things that move."""
    from PIL import Image, ImageDraw

    half = np.asarray(room.size[:2]) / 2
    width, height = (int(side * _PIXELS_A_METRE) + 2 * _MARGIN for side in room.size[:2])
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)

    def pixels(xy: NDArray[np.floating]) -> list[tuple[float, float]]:
        spots = (np.atleast_2d(xy) + half) * _PIXELS_A_METRE + _MARGIN
        return [(float(x), float(height - y)) for x, y in spots]

    draw.rectangle([_MARGIN, _MARGIN, width - _MARGIN, height - _MARGIN], outline="black", width=3)
    for thing in sorted(room.instances, key=lambda t: t.box.z_range[1]):
        red, green, blue = (int(255 * c) for c in COLOURS[thing.colour])
        draw.polygon(pixels(footprint(thing.box)), fill=(red, green, blue), outline="black")
        if thing.motion is not None:
            ends = np.asarray([thing.box.centre[:2], thing.at(1.0).box.centre[:2]])
            draw.line(pixels(ends), fill="magenta", width=3)
    taken: list[Label] = []
    for thing in room.instances:
        ((x, y),) = pixels(np.asarray(thing.box.centre[:2]))
        name = f"{thing.category} {thing.id}"
        taken.append(free_label(draw.textbbox((x, y), name, anchor="mm"), taken, width))
        draw.rectangle(taken[-1], fill="white")
        draw.text(taken[-1][:2], name, fill="black", anchor="lt")
    eyes = camera_path(room, 48)[:, :2]
    draw.line(pixels(eyes[:, :, 3]), fill="red", width=3)
    for pose in eyes[::8]:
        draw.line(pixels(np.stack([pose[:, 3], pose[:, 3] + 0.4 * pose[:, 2]])), fill="red", width=1)
    return picture


def free_label(label: Label, taken: Sequence[Label], width: float) -> Label:
    """A label's place inside a picture so wide, moved down until it covers no other one."""
    left, top, right, bottom = label
    aside = max(0.0, -left) - max(0.0, right - width)
    left, right = left + aside, right + aside
    beside = [other for other in taken if left < other[2] and other[0] < right]
    while hit := next((other for other in beside if top < other[3] and other[1] < bottom), None):
        top, bottom = hit[3], hit[3] + bottom - top
    return left, top, right, bottom


def _palette(count: int) -> Picture:
    """(count, 3) colours, plainly different from id to id; the shell is black."""
    hue = (np.arange(count) * 0.61803398875) % 1 * 6
    rgb = np.clip(np.abs((hue[:, None] + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    rgb[0] = 0
    return np.asarray(rgb * 255, dtype=np.uint8)
