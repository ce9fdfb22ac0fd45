"""Rooms as triangle meshes, and embree's rays on them: a second opinion on the exact formulas."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.ray.ray_pyembree import RayMeshIntersector

from vega3d.rooms.raycast import SHAPES, SHELL, Rays, Table

SECTIONS = 128  # corners of a tessellated circle


def table_mesh(table: Table) -> tuple[Any, NDArray[np.int32]]:
    """All rows of the table as one mesh in world coordinates, and the row (F,) of each face."""
    low, high = table.centre[0] - table.half[0], table.centre[0] + table.half[0]
    shell = trimesh.creation.box(bounds=[low, high])
    parts, rows = [shell], [shell_rows(shell.face_normals)]
    for row in range(SHELL, len(table.shape)):
        w, d, h = 2 * table.half[row].astype(float)
        shape = SHAPES[table.shape[row]]
        if shape == "box":
            mesh = trimesh.creation.box(extents=(w, d, h))
        elif shape == "cylinder":
            mesh = trimesh.creation.cylinder(radius=w / 2, height=h, sections=SECTIONS)
        else:
            mesh = trimesh.creation.icosphere(subdivisions=4, radius=w / 2)
        yaw = np.arctan2(table.sin[row], table.cos[row])
        place = trimesh.transformations.rotation_matrix(float(yaw), (0, 0, 1))
        place[:3, 3] = table.centre[row]
        mesh.apply_transform(place)
        parts.append(mesh)
        rows.append(np.full(len(mesh.faces), row, dtype=np.int32))
    return trimesh.util.concatenate(parts), np.concatenate(rows)


def shell_rows(normals: NDArray[np.floating]) -> NDArray[np.int32]:
    """Rows 0..5 of the faces of the room's own box."""
    axis = np.abs(normals).argmax(axis=1)
    return np.asarray(2 * axis + (normals[np.arange(len(axis)), axis] > 0), dtype=np.int32)


def cast(
    table: Table, rays: Rays, K: NDArray[np.floating], pose: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Depth (H, W) and row (H, W) as `vega3d.rooms.raycast.cast` gives them."""
    intersector, face_row, normals, offsets = _scene(table)
    directions = rays.d.reshape(3, -1).T.astype(np.float64)
    origins = np.broadcast_to(rays.eye.astype(np.float64), directions.shape)
    face = intersector.intersects_first(origins, directions)
    # Depth from the plane of the triangle: embree's own is in float32.
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = (offsets[face] - normals[face] @ rays.eye) / (normals[face] * directions).sum(axis=1)
    depth = np.where(face >= 0, depth, np.inf).astype(np.float32)
    row = np.where(face >= 0, face_row[face], np.int32(-1))
    return depth.reshape(rays.d.shape[1:]), row.reshape(rays.d.shape[1:])


@lru_cache(maxsize=1)
def _scene(table: Table) -> tuple[Any, NDArray[np.int32], NDArray[np.floating], NDArray[np.floating]]:
    mesh, face_row = table_mesh(table)
    normals = np.asarray(mesh.face_normals)
    return RayMeshIntersector(mesh), face_row, normals, (normals * mesh.triangles[:, 0]).sum(axis=1)
