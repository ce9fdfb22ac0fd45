"""Pinhole cameras: intrinsics, poses, and the way between pixels and metres.

Conventions, once for the whole library: camera axes are OpenCV's (x right, y down, z forward); a pose is
camera-to-world, (4, 4); the world is right-handed with z up; lengths are metres. The *centre* of the pixel
in column i and row j lies at (i + 0.5, j + 0.5). Depth is z-depth (along the optical axis), not range.
Distortion and rolling shutter are not modelled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vega3d.errors import InputError

Array = NDArray[np.floating]


def intrinsics(width: int, height: int, fov_x: float) -> Array:
    """(3, 3) matrix of a camera with square pixels; ``fov_x`` is the horizontal field of view in degrees."""
    if not 0 < fov_x < 180:
        raise InputError(f"Invalid field of view: {fov_x}.", got=fov_x, expected="degrees in (0, 180)")
    focal = 0.5 * width / np.tan(np.radians(fov_x) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """(4, 4) camera-to-world pose of a camera at ``eye`` that looks at ``target`` (metres)."""
    origin = np.asarray(eye, dtype=np.float64)
    forward = _unit(np.asarray(target, dtype=np.float64) - origin)
    right = _unit(np.cross(forward, np.asarray(up, dtype=np.float64)))
    pose = np.eye(4)
    pose[:3, :3] = np.stack(
        [right, np.cross(forward, right), forward], axis=1
    )  # columns: x, y, z of the camera
    pose[:3, 3] = origin
    return pose


def pixel_rays(K: Array, height: int, width: int) -> Array:
    """(height, width, 3) directions through the pixel centres in camera axes, scaled so that z = 1.

    A point at z-depth d on a ray is d times its direction.
    """
    u = (np.arange(width) + 0.5 - K[0, 2]) / K[0, 0]
    v = (np.arange(height) + 0.5 - K[1, 2]) / K[1, 1]
    rays = np.ones((height, width, 3))
    rays[..., 0], rays[..., 1] = u[None, :], v[:, None]
    return rays


def backproject(depth: NDArray[np.floating], K: Array, cam_to_world: Array) -> Array:
    """World points (height, width, 3) of a z-depth map (height, width) in metres."""
    points = pixel_rays(K, *depth.shape) * depth[..., None]
    return np.asarray(points @ cam_to_world[:3, :3].T + cam_to_world[:3, 3])


def project(points: ArrayLike, K: Array, cam_to_world: Array) -> tuple[Array, Array]:
    """Pixels (N, 2) as (column, row) and z-depths (N,) of world points (N, 3).

    Points behind the camera have z <= 0; their pixels mean nothing.
    """
    world = np.asarray(points, dtype=np.float64)
    camera = (world - cam_to_world[:3, 3]) @ cam_to_world[:3, :3]
    z = camera[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        uv = camera[:, :2] / z[:, None] * np.array([K[0, 0], K[1, 1]]) + K[:2, 2]
    return uv, z


def _unit(vector: Array) -> Array:
    norm = float(np.linalg.norm(vector))
    if norm < 1e-9:
        raise InputError(
            "Invalid camera direction of length 0: eye and target (or up) coincide.", got=vector.tolist()
        )
    return vector / norm
