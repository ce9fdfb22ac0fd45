"""Film a room along its camera path: RGB, z-depth, instance and class ids, normals; exact, deterministic.

The path is always the room's own, sampled at ``frames`` video frames; ``indices`` renders a subset of them
(training data needs eight of 48), each bit-equal to the same frame of the full clip. This module does
not depend on questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vega3d.errors import ConfigError
from vega3d.geometry import Array, intrinsics
from vega3d.rooms.camera import Style, camera_path
from vega3d.rooms.raycast import camera_rays, cast, tabulate
from vega3d.rooms.scene import Room
from vega3d.rooms.shading import floor_shade, shade
from vega3d.rooms.video import rooms_tag, write_mp4

FOV_X = 80.0
"""Horizontal field of view in degrees."""
FRAMES = 48
"""Frames of a whole clip."""
FPS = 8.0
"""Frames a second of a clip."""


@dataclass(frozen=True)
class Clip:
    """T frames of one room, H x W pixels.

    Attributes:
        rgb: (T, H, W, 3) uint8.
        depth: (T, H, W) float32, z-depth in metres.
        ids: (T, H, W) int32, instance id; 0 is the shell of the room.
        K: (3, 3) float64 intrinsics in pixels, the same for all frames.
        poses: (T, 4, 4) float64 camera-to-world, OpenCV axes, metres.
        fps: frames a second of the whole video.
        frame_indices: (T,) int64, each frame's index in the whole video.
        total_frames: frames of the whole video.
        class_of: class id by instance id, see `classes`.
        normals: (T, H, W, 3) float32 unit normals in world axes, out of the surfaces; None unless asked.
        tag: comment of its mp4 file, which names seed and version of the room.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    ids: NDArray[np.int32]
    K: Array
    poses: Array
    fps: float
    frame_indices: NDArray[np.int64]
    total_frames: int
    class_of: tuple[int, ...] = ()
    normals: NDArray[np.float32] | None = None
    tag: str | None = None

    def save(self, path: str | Path) -> None:
        """Write the frames as an mp4 file that `rooms_source` recognises.

        Raises:
            InputError: height or width is odd.
        """
        write_mp4(path, self.rgb, self.fps, comment=self.tag)

    @property
    def classes(self) -> NDArray[np.int32]:
        """(T, H, W) int32 class ids: 0 for the shell, else 1 + place of the category in CATEGORIES."""
        return np.asarray(self.class_of, dtype=np.int32)[self.ids]

    @property
    def times(self) -> NDArray[np.float64]:
        """(T,) shares 0..1 of the whole video, as `Room.at` takes them."""
        return np.asarray(self.frame_indices / max(1, self.total_frames - 1), dtype=np.float64)


def render(
    room: Room,
    *,
    width: int = 256,
    height: int = 256,
    frames: int = FRAMES,
    fps: float = FPS,
    indices: Sequence[int] | None = None,
    style: Style | None = None,
    shake: bool | None = None,
    normals: bool = False,
    poses: Array | None = None,
    fov_x: float = FOV_X,
) -> Clip:
    """Film the room: ``frames`` frames of its camera path, or only those in ``indices``.

    Args:
        room: to film.
        width, height: pixels.
        frames, fps: length and rate of the whole video.
        indices: frames of it to render, all by default.
        style, shake: as in `camera_path`; None is the room's own.
        normals: keep normals, too.
        poses: (frames, 4, 4) camera-to-world to film from; None is the room's camera path.
        fov_x: horizontal field of view in degrees.
    """
    if width < 1 or height < 1 or frames < 1:
        got = (width, height, frames)
        raise ConfigError("Invalid size of a clip.", got=got, expected="pixels and frames >= 1")
    chosen = np.arange(frames) if indices is None else np.asarray(indices, dtype=np.int64)
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= frames:
        expected = f"indices in 0..{frames - 1}"
        raise ConfigError("Invalid frame index: out of range.", got=list(chosen), expected=expected)
    poses = camera_path(room, frames, style=style, shake=shake) if poses is None else poses
    K, floor = intrinsics(width, height, fov_x), floor_shade(room)
    shots, table = [], None
    for pose, when in zip(poses[chosen], chosen / max(1, frames - 1), strict=True):
        if table is None or room.moves:
            table = tabulate(room.at(float(when)))
        rays = camera_rays(K, pose, height, width)
        depth, row = cast(table, rays, K, pose)
        flat, hit = row.ravel(), np.where(np.isfinite(depth), depth, 0).ravel()
        points = rays.d.reshape(3, -1) * hit + rays.eye[:, None]
        rgb, normal = shade(table, flat, points, (hit / K[0, 0]).astype(np.float32), room, floor)
        ids = np.where(row >= 0, table.instance[row], 0).astype(np.int32)
        shots.append((rgb.reshape(height, width, 3), depth, ids, normal.T.reshape(height, width, 3)))
    rgbs, depths, all_ids, all_normals = (np.stack(field) for field in zip(*shots, strict=True))
    shown = all_normals if normals else None
    tag = rooms_tag(room.seed, room.version)
    rate = float(fps)
    return Clip(rgbs, depths, all_ids, K, poses[chosen], rate, chosen, frames, room.class_of, shown, tag)
