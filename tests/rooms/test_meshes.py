"""Embree on tessellated meshes sees the rooms that the exact formulas draw."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rooms import meshes
from vega3d.rooms import Clip, make_room, render, renderer
from vega3d.rooms.raycast import tabulate

SEEDS = (0, 2, 5, 8, 12, 21)
SMALL = {"width": 128, "height": 128, "frames": 9, "indices": (0, 4, 8)}


def film() -> list[Clip]:
    return [render(make_room(seed), **SMALL, normals=True) for seed in SEEDS]


@pytest.fixture(scope="module")
def exact() -> list[Clip]:
    return film()


@pytest.fixture(scope="module")
def other() -> list[Clip]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renderer, "cast", meshes.cast)
        return film()


def inner(ids: np.ndarray) -> np.ndarray:
    """(T, H - 2, W - 2) pixels whose four neighbours show the same thing."""
    middle = ids[:, 1:-1, 1:-1]
    around = (ids[:, :-2, 1:-1], ids[:, 2:, 1:-1], ids[:, 1:-1, :-2], ids[:, 1:-1, 2:])
    return np.logical_and.reduce([middle == side for side in around])


def test_ids_agree_on_more_than_995_of_1000_pixels(exact: list[Clip], other: list[Clip]) -> None:
    for a, b in zip(exact, other, strict=True):
        assert (a.ids == b.ids).mean() > 0.995


def test_depth_agrees_to_a_tenth_of_a_millimetre_on_flat_things_and_a_millimetre_on_round_ones(
    exact: list[Clip], other: list[Clip]
) -> None:
    """Away from edges; a tessellated circle lies inside the true one by r (1 - cos(pi / n))."""
    for a, b in zip(exact, other, strict=True):
        off = np.abs(a.depth - b.depth)[:, 1:-1, 1:-1][inner(a.ids) & inner(b.ids)]
        assert np.quantile(off, 0.5) < 1e-5
        assert np.quantile(off, 0.9) < 1e-4
        assert np.quantile(off, 0.98) < 2e-3


def test_pictures_agree(exact: list[Clip], other: list[Clip]) -> None:
    for a, b in zip(exact, other, strict=True):
        off = np.abs(a.rgb.astype(int) - b.rgb).max(axis=-1)
        assert (off <= 3).mean() > 0.985


def test_a_mesh_has_the_extent_and_the_volume_of_its_primitives() -> None:
    room = make_room(3)
    primitives = [part for thing in room.instances for part in thing.primitives]
    mesh, rows = meshes.table_mesh(tabulate(room))
    for row, primitive in list(enumerate(primitives, start=6))[::7]:
        corners = mesh.triangles[rows == row].reshape(-1, 3)
        if primitive.shape != "box":
            assert np.allclose(np.ptp(corners, axis=0)[2], primitive.box.size[2], atol=1e-3)
        assert np.allclose((corners.max(0) + corners.min(0)) / 2, primitive.box.centre, atol=1e-3)
    assert set(rows) == set(range(6 + len(primitives)))
