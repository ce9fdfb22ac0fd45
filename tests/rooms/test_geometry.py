from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vega3d.errors import InputError
from vega3d.geometry import (
    OrientedBox,
    backproject,
    contains,
    corners,
    footprint,
    intrinsics,
    look_at,
    outlines_overlap,
    project,
)
from vega3d.rooms.facts import distance
from vega3d.rooms.scene import Instance, Primitive, Surface

metres = st.floats(-3, 3, allow_nan=False)
sizes = st.floats(0.1, 2)
angles = st.floats(-7, 7)


@st.composite
def boxes(draw: st.DrawFn) -> OrientedBox:
    centre = (draw(metres), draw(metres), draw(metres))
    return OrientedBox(centre, (draw(sizes), draw(sizes), draw(sizes)), draw(angles))


def box_distance(a: OrientedBox, b: OrientedBox) -> float:
    """Closest distance of two things that are one box each."""
    plain = Surface((0.6, 0.6, 0.6), 0, 1.0, 0.0, (0.0, 0.0, 0.0))
    things = [Instance(1, "cabinet", "gray", box, (Primitive("box", box, plain),)) for box in (a, b)]
    return distance(*things)


def test_a_camera_looks_along_its_z_axis_with_x_to_the_right_and_y_down() -> None:
    pose = look_at((0, 0, 1), (0, 5, 1))  # standing at the origin, facing +y of the world
    assert np.allclose(pose[:3, 0], (1, 0, 0))
    assert np.allclose(pose[:3, 1], (0, 0, -1))
    assert np.allclose(pose[:3, 2], (0, 1, 0))


def test_a_point_ahead_lands_in_the_middle_of_the_picture() -> None:
    uv, z = project([(0, 5, 1)], intrinsics(100, 60, 80), look_at((0, 0, 1), (0, 5, 1)))
    assert np.allclose(uv, (50, 30))
    assert np.allclose(z, 5)


def test_a_point_to_the_right_and_above_lands_right_and_above() -> None:
    uv, _ = project([(1, 5, 2)], intrinsics(100, 60, 80), look_at((0, 0, 1), (0, 5, 1)))
    assert uv[0, 0] > 50
    assert uv[0, 1] < 30


def test_the_field_of_view_reaches_the_edges_of_the_picture() -> None:
    K = intrinsics(200, 100, 90)
    uv, _ = project([(5, 5, 1)], K, look_at((0, 0, 1), (0, 5, 1)))  # 45 degrees to the right
    assert uv[0, 0] == pytest.approx(200)


@given(metres, metres, st.floats(0.2, 5), st.integers(0, 2**31))
@settings(max_examples=50)
def test_projecting_what_was_back_projected_gives_the_pixel_centres(
    x: float, y: float, z: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.5, 6, (5, 7))
    K, pose = intrinsics(7, 5, 70), look_at((x, y, z), (x + 1, y + 0.3, z - 0.4))
    uv, back = project(backproject(depth, K, pose).reshape(-1, 3), K, pose)
    rows, columns = np.mgrid[:5, :7]
    assert np.allclose(uv, np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1), atol=1e-6)
    assert np.allclose(back, depth.ravel())


def test_a_camera_that_looks_at_itself_is_an_error() -> None:
    with pytest.raises(InputError, match="coincide"):
        look_at((0, 0, 1), (0, 0, 1))


@given(boxes())
def test_a_box_contains_its_corners_and_nothing_a_little_further_out(box: OrientedBox) -> None:
    points = corners(box)
    outside = np.asarray(box.centre) + (points - np.asarray(box.centre)) * 1.01
    assert contains(box, points, margin=1e-9).all()
    assert not contains(box, outside).any()


@given(boxes(), boxes())
def test_distance_is_symmetric(a: OrientedBox, b: OrientedBox) -> None:
    assert box_distance(a, b) == pytest.approx(box_distance(b, a), abs=1e-9)


@given(boxes(), boxes())
def test_boxes_that_overlap_have_no_distance_and_boxes_apart_have_one(a: OrientedBox, b: OrientedBox) -> None:
    gap = max(a.z_range[0] - b.z_range[1], b.z_range[0] - a.z_range[1])
    overlap = outlines_overlap(footprint(a), footprint(b))
    if overlap and gap < 0:
        assert box_distance(a, b) == 0
    if gap > 1e-6:
        assert box_distance(a, b) >= gap


@given(boxes(), st.floats(0.01, 3), angles)
def test_boxes_side_by_side_are_as_far_apart_as_the_gap_between_them(
    box: OrientedBox, gap: float, yaw: float
) -> None:
    step = box.size[0] + gap
    turned = (np.cos(box.yaw) * step, np.sin(box.yaw) * step)
    other = OrientedBox(
        (box.centre[0] + turned[0], box.centre[1] + turned[1], box.centre[2]), box.size, box.yaw
    )
    assert box_distance(box, other) == pytest.approx(gap, rel=1e-6)


@given(boxes(), boxes())
@settings(max_examples=30, deadline=None)
def test_box_distance_is_never_more_than_that_of_sampled_points_and_nearly_as_much(
    a: OrientedBox, b: OrientedBox
) -> None:
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 9)] * 3), -1).reshape(-1, 3)
    clouds = []
    for box in (a, b):
        local = grid * np.asarray(box.size)
        c, s = np.cos(box.yaw), np.sin(box.yaw)
        x, y, z = local.T
        clouds.append(np.stack([x * c - y * s, x * s + y * c, z], 1) + np.asarray(box.centre))
    sampled = float(np.sqrt(((clouds[0][:, None] - clouds[1][None]) ** 2).sum(-1)).min())
    spacing = float(np.linalg.norm(a.size) + np.linalg.norm(b.size)) / 8
    assert sampled - spacing <= box_distance(a, b) <= sampled + 1e-6
