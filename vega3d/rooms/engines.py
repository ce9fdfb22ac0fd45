"""Other ways to find what each ray meets: embree on meshes, and OpenGL.

Decision: an engine only answers "which row of the table, at which depth"; colour, normals and ids are made
from that by the same code. `numpy` is exact and needs nothing (raycast.py). `embree` (the extra
`vega3d[render]`: trimesh, embreex, moderngl) and `opengl` (which needs the system's EGL, too) draw
tessellated meshes of the same primitives: they differ from numpy at the silhouettes of round things only, and
are held to it by a test. Neither is used unless asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vega3d.errors import DependencyError, unknown_choice
from vega3d.rooms.raycast import Rays, cast
from vega3d.rooms.table import F32, SHELL, Table

Engine = Literal["numpy", "embree", "opengl"]
Caster = Callable[
    [Rays, NDArray[np.floating], NDArray[np.floating]], tuple[NDArray[np.float32], NDArray[np.int32]]
]
"""(rays, K, pose) -> z-depth (H, W) in metres and row of the table (H, W)."""

SECTIONS = 128  # corners of a tessellated circle
_NEAR, _FAR = 0.02, 60.0


def caster(table: Table, engine: Engine = "numpy") -> Caster:
    """What finds the first hit of rays in this table, by one of the engines.

    Raises:
        ConfigError: no such engine.
        DependencyError: its packages, or its graphics library, are missing.
    """
    if engine not in get_args(Engine):
        raise unknown_choice("engine", engine, get_args(Engine))
    if engine == "embree":
        return _Embree(table)
    if engine == "opengl":
        return _OpenGL(table)
    return lambda rays, K, pose: cast(table, rays, K, pose)


def table_mesh(table: Table) -> tuple[Any, NDArray[np.int32]]:
    """All rows of the table as one `trimesh.Trimesh` in world coordinates, and the row (F,) of each face.

    Needs trimesh. Circles have ``SECTIONS`` corners; corners lie on the true surface.
    """
    trimesh = _load("trimesh", "Meshes of rooms need trimesh.")
    low, high = table.room_centre - table.room_half, table.room_centre + table.room_half
    shell = trimesh.creation.box(bounds=[low, high])
    parts, rows = [shell], [_shell_rows(shell.face_normals)]
    for row, primitive in enumerate(table.primitives, start=SHELL):
        w, d, h = primitive.box.size
        if primitive.shape == "box":
            mesh = trimesh.creation.box(extents=(w, d, h))
        elif primitive.shape == "cylinder":
            mesh = trimesh.creation.cylinder(radius=w / 2, height=h, sections=SECTIONS)
        else:
            mesh = trimesh.creation.icosphere(subdivisions=4, radius=w / 2)
        place = trimesh.transformations.rotation_matrix(primitive.box.yaw, (0, 0, 1))
        place[:3, 3] = primitive.box.centre
        mesh.apply_transform(place)
        parts.append(mesh)
        rows.append(np.full(len(mesh.faces), row, dtype=np.int32))
    return trimesh.util.concatenate(parts), np.concatenate(rows)


def _shell_rows(normals: NDArray[np.floating]) -> NDArray[np.int32]:
    """Rows 0..5 of the faces of the room's own box."""
    axis = np.abs(normals).argmax(axis=1)
    rows = 2 * axis + (normals[np.arange(len(axis)), axis] > 0)
    return np.asarray(rows, dtype=np.int32)


class _Embree:
    """Embree's first hit, then the plane of the hit triangle for an exact depth."""

    def __init__(self, table: Table) -> None:
        self._mesh, self._rows = table_mesh(table)
        embree = _load("trimesh.ray.ray_pyembree", "The engine embree needs embreex.")
        self._intersector = embree.RayMeshIntersector(self._mesh)
        self._normals = np.asarray(self._mesh.face_normals)
        self._offsets = (self._normals * self._mesh.triangles[:, 0]).sum(axis=1)

    def __call__(
        self, rays: Rays, K: NDArray[np.floating], pose: NDArray[np.floating]
    ) -> tuple[F32, NDArray[np.int32]]:
        directions = rays.d.reshape(3, -1).T.astype(np.float64)
        origins = np.broadcast_to(rays.eye.astype(np.float64), directions.shape)
        face = self._intersector.intersects_first(origins, directions)
        normal = self._normals[face]
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = (self._offsets[face] - normal @ rays.eye) / (normal * directions).sum(axis=1)
        depth = np.where(face >= 0, depth, np.inf).astype(np.float32)
        row = np.where(face >= 0, self._rows[face], np.int32(-1))
        return depth.reshape(rays.d.shape[1:]), row.reshape(rays.d.shape[1:])


_VERTEX = """#version 330
in vec3 place; in int row; flat out int drawn; out float metres;
uniform mat3 turn; uniform vec3 eye; uniform vec4 lens; uniform vec2 ends;
void main() {
  vec3 p = turn * (place - eye);            // camera axes: x right, y down, z forward
  drawn = row; metres = p.z;
  float z = (p.z * (ends.y + ends.x) - 2.0 * ends.x * ends.y) / (ends.y - ends.x);
  gl_Position = vec4(lens.x * p.x + lens.z * p.z, lens.y * p.y + lens.w * p.z, z, p.z);
}"""
_FRAGMENT = """#version 330
flat in int drawn; in float metres; layout(location = 0) out int row; layout(location = 1) out float depth;
void main() { row = drawn; depth = metres; }"""


class _OpenGL:
    """One shader, two targets. Rows of the picture are not turned upside down: v grows with y."""

    def __init__(self, table: Table) -> None:
        mesh, rows = table_mesh(table)
        self._context = _open_context()
        self._program = self._context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        corners = np.asarray(mesh.triangles, dtype=np.float32).reshape(-1, 3)
        packed = np.empty(len(corners), dtype=[("place", np.float32, 3), ("row", np.int32)])
        packed["place"], packed["row"] = corners, np.repeat(rows, 3)
        buffer = self._context.buffer(packed.tobytes())
        self._array = self._context.vertex_array(self._program, [(buffer, "3f 1i", "place", "row")])
        self._targets: dict[tuple[int, int], Any] = {}

    def __call__(
        self, rays: Rays, K: NDArray[np.floating], pose: NDArray[np.floating]
    ) -> tuple[F32, NDArray[np.int32]]:
        height, width = rays.d.shape[1:]
        target = self._target(width, height)
        target.use()
        self._context.enable_only(self._context.DEPTH_TEST)
        target.clear(depth=1.0)
        self._set("turn", np.asarray(pose[:3, :3], dtype=np.float32))  # column-major: the transpose
        self._set("eye", rays.eye)
        lens = [2 * K[0, 0] / width, 2 * K[1, 1] / height, 2 * K[0, 2] / width - 1, 2 * K[1, 2] / height - 1]
        self._set("lens", np.array(lens, dtype=np.float32))
        self._set("ends", np.array([_NEAR, _FAR], dtype=np.float32))
        self._array.render()
        row = np.frombuffer(target.read(components=1, attachment=0, dtype="i4"), dtype=np.int32)
        depth = np.frombuffer(target.read(components=1, attachment=1, dtype="f4"), dtype=np.float32)
        return depth.reshape(height, width).copy(), row.reshape(height, width).copy()

    def _set(self, name: str, values: NDArray[np.float32]) -> None:
        self._program[name].write(np.ascontiguousarray(values).tobytes())

    def _target(self, width: int, height: int) -> Any:
        if (width, height) not in self._targets:
            colours = [self._context.texture((width, height), 1, dtype=kind) for kind in ("i4", "f4")]
            depth = self._context.depth_renderbuffer((width, height))
            self._targets[width, height] = self._context.framebuffer(colours, depth)
        return self._targets[width, height]


def _open_context() -> Any:
    moderngl = _load("moderngl", "The engine opengl needs moderngl.")
    try:
        return moderngl.create_context(standalone=True, backend="egl")
    except Exception as error:  # whatever the driver says
        raise DependencyError(
            "The engine opengl finds no EGL.",
            got=f"{type(error).__name__}: {error}",
            fix="install the system's EGL (Debian: libegl1), or pass engine='numpy'",
        ) from error


def _load(module: str, what: str) -> Any:
    """An optional module; untyped on purpose, so that checks do not depend on what is installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(what, fix="pip install 'vega3d[render]'") from error
