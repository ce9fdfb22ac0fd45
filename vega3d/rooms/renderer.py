"""Render a room along its camera path: RGB, z-depth and instance ids, exact and deterministic.

The path is always the room's own, sampled at ``frames`` video frames; ``indices`` renders a subset of them
(training data needs eight of 48), each bit-equal to the same frame of the full clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vega3d.errors import ConfigError
from vega3d.geometry import intrinsics, pixel_rays
from vega3d.rooms.camera import camera_path
from vega3d.rooms.raycast import Table, cast, tabulate
from vega3d.rooms.scene import Room
from vega3d.rooms.shading import shade

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
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    ids: NDArray[np.int32]
    K: NDArray[np.floating]
    poses: NDArray[np.floating]
    fps: float
    frame_indices: NDArray[np.int64]
    total_frames: int


def render(
    room: Room,
    *,
    width: int = 256,
    height: int = 256,
    frames: int = FRAMES,
    fps: float = FPS,
    indices: Sequence[int] | None = None,
) -> Clip:
    """Film the room: ``frames`` frames of its camera path, or only those in ``indices``."""
    if width < 1 or height < 1 or frames < 1:
        raise ConfigError(
            "A clip needs pixels and frames.", got=(width, height, frames), expected="numbers >= 1"
        )
    chosen = np.arange(frames) if indices is None else np.asarray(indices, dtype=np.int64)
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= frames:
        raise ConfigError(
            "Frame index out of range.", got=list(chosen), expected=f"indices in 0..{frames - 1}"
        )
    K = intrinsics(width, height, FOV_X)
    poses = camera_path(room, frames)[chosen]
    table = tabulate(room)
    shots = [render_pose(room, table, K, pose, height, width) for pose in poses]
    rgb, depth, ids = (np.stack(layer) for layer in zip(*shots, strict=True))
    return Clip(rgb, depth, ids, K, poses, float(fps), chosen, frames)


def render_pose(
    room: Room, table: Table, K: NDArray[np.floating], pose: NDArray[np.floating], height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32]]:
    """RGB (H, W, 3), z-depth (H, W) and ids (H, W) from one camera-to-world pose (4, 4)."""
    turn = pose[:3, :3].T.astype(np.float32)
    rays = pixel_rays(K, height, width).astype(np.float32) @ turn  # (H, W, 3) in world axes
    depth, row = cast(table, room.size, rays, K, pose)
    points = (rays * depth[..., None]).reshape(-1, 3) + pose[:3, 3].astype(np.float32)
    rgb = shade(table, row.reshape(-1), points, room.light).reshape(height, width, 3)
    return rgb, depth, table.instance[row]


def visible_pixels(clip: Clip, count: int) -> NDArray[np.int64]:
    """(T, count + 1) pixels of each instance id 0..count in each frame."""
    return np.stack([np.bincount(frame.ravel(), minlength=count + 1) for frame in clip.ids])
