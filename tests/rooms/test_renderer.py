from __future__ import annotations

import numpy as np
import pytest

from vega3d.errors import ConfigError
from vega3d.geometry import OrientedBox, backproject, contains, intrinsics, look_at, project
from vega3d.rooms import Clip, Instance, Primitive, Room, make_room, render
from vega3d.rooms.raycast import tabulate
from vega3d.rooms.renderer import render_pose
from vega3d.rooms.scene import Surface

PLAIN = Surface((0.8, 0.2, 0.2), 0, 1.0, 0.0, (0.0, 0.0, 0.0))
Filmed = list[tuple[Room, Clip]]


def room_with(shape: str, box: OrientedBox) -> Room:
    part = Primitive(shape, box, PLAIN)  # type: ignore[arg-type]
    return Room(0, (6, 6, 3), (Instance(1, "thing", "red", box, (part,)),), PLAIN, PLAIN, PLAIN, (0, 0, 2.8))


def look(
    room: Room, eye: tuple[float, ...], target: tuple[float, ...], n: int = 65
) -> tuple[np.ndarray, ...]:
    K, pose = intrinsics(n, n, 80), look_at(eye, target)
    rgb, depth, ids = render_pose(room, tabulate(room), K, pose, n, n)
    return rgb, depth, ids, K, pose


def test_the_face_of_a_known_cube_is_as_far_as_it_must_be() -> None:
    room = room_with("box", OrientedBox((0, 1, 1), (1, 1, 1)))
    _, depth, ids, _, _ = look(room, (0, -2, 1), (0, 0, 1))
    assert ids[32, 32] == 1
    assert np.allclose(depth[ids == 1], 2.5, atol=1e-5)  # all pixels on it see the front face, at y = 0.5


def test_the_corner_of_a_known_cube_is_where_projection_says() -> None:
    room = room_with("box", OrientedBox((0, 1, 1), (1, 1, 1)))
    _, _, ids, K, pose = look(room, (0, -2, 1), (0, 0, 1), n=201)
    rows, columns = np.nonzero(ids == 1)
    uv, _ = project([(-0.5, 0.5, 1.5), (0.5, 0.5, 0.5)], K, pose)
    assert abs(columns.min() - uv[0, 0]) <= 1
    assert abs(rows.min() - uv[0, 1]) <= 1
    assert abs(columns.max() + 1 - uv[1, 0]) <= 1
    assert abs(rows.max() + 1 - uv[1, 1]) <= 1


def test_the_nearest_line_of_a_known_cylinder_is_as_far_as_it_must_be() -> None:
    room = room_with("cylinder", OrientedBox((0, 1, 1), (1, 1, 1)))
    _, depth, ids, _, _ = look(room, (0, -2, 1), (0, 0, 1))
    assert depth[32, 32] == pytest.approx(2.5, abs=1e-4)
    assert depth[ids == 1].max() < 3.0 + 1e-4


def test_every_point_of_a_cylinder_lies_on_its_side_or_its_ends() -> None:
    box = OrientedBox((0.2, 0.5, 0.6), (0.8, 0.8, 1.2))
    _, depth, ids, K, pose = look(room_with("cylinder", box), (0, -2, 2.4), (0.2, 0.5, 0.6))
    points = backproject(depth, K, pose)[ids == 1] - np.asarray(box.centre)
    radius, height = np.hypot(points[:, 0], points[:, 1]), np.abs(points[:, 2])
    on_side = np.abs(radius - 0.4) < 1e-3
    on_end = (np.abs(height - 0.6) < 1e-3) & (radius <= 0.4 + 1e-3)
    assert (on_side | on_end).all()
    assert on_side.any()
    assert on_end.any()


def test_walls_are_where_the_room_ends() -> None:
    room = room_with("box", OrientedBox((-2.5, -2.5, 0.1), (0.1, 0.1, 0.1)))
    _, depth, ids, K, pose = look(room, (0, -2, 1), (0, 0, 1))
    points = backproject(depth, K, pose)[ids == 0]
    inside = np.array([3, 3, 1.5])
    assert np.allclose(np.abs(points - (0, 0, 1.5)).max(1), np.abs(points - (0, 0, 1.5)).max(1).clip(1.4))
    assert (np.abs(np.abs(points - (0, 0, 1.5)) - inside).min(1) < 1e-4).all()


def test_the_same_room_is_rendered_to_the_same_bytes() -> None:
    a, b = (render(make_room(11), width=64, height=64, frames=3) for _ in range(2))
    assert a.rgb.tobytes() == b.rgb.tobytes()
    assert a.depth.tobytes() == b.depth.tobytes()
    assert a.ids.tobytes() == b.ids.tobytes()


def test_a_subset_of_frames_is_bit_equal_to_the_same_frames_of_the_whole_clip() -> None:
    room = make_room(12)
    whole = render(room, width=64, height=64, frames=9)
    part = render(room, width=64, height=64, frames=9, indices=[2, 7])
    assert (part.rgb == whole.rgb[[2, 7]]).all()
    assert (part.depth == whole.depth[[2, 7]]).all()
    assert (part.poses == whole.poses[[2, 7]]).all()


def test_shapes_and_types_are_as_documented() -> None:
    clip = render(make_room(0), width=48, height=32, frames=4)
    assert clip.rgb.shape == (4, 32, 48, 3)
    assert clip.rgb.dtype == np.uint8
    assert clip.depth.shape == clip.ids.shape == (4, 32, 48)
    assert clip.depth.dtype == np.float32
    assert clip.ids.dtype == np.int32
    assert clip.K.shape == (3, 3)
    assert clip.poses.shape == (4, 4, 4)


def test_boxes_contain_the_points_of_their_pixels(filmed: Filmed) -> None:
    for room, clip in filmed:
        for t in range(0, len(clip.rgb), 6):
            points = backproject(clip.depth[t], clip.K, clip.poses[t])
            for thing in room.instances:
                mine = points[clip.ids[t] == thing.id]
                assert contains(thing.box, mine, margin=2e-3).all()


def test_a_point_seen_in_one_frame_has_the_depth_that_the_next_frame_says(filmed: Filmed) -> None:
    for _, clip in filmed:
        points = backproject(clip.depth[8], clip.K, clip.poses[8]).reshape(-1, 3)
        uv, z = project(points, clip.K, clip.poses[9])
        u, v = np.floor(np.nan_to_num(uv, posinf=-1, neginf=-1)).astype(int).T
        h, w = clip.depth[9].shape
        seen = (z > 0.1) & (u >= 0) & (u < w) & (v >= 0) & (v < h)
        # Where the same thing is seen again, it is where it was; elsewhere something nearer hides it.
        there = clip.depth[9][v[seen], u[seen]]
        same = clip.ids[9][v[seen], u[seen]] == clip.ids[8].ravel()[seen]
        error = np.abs(there - z[seen]) / z[seen]
        assert same.mean() > 0.85
        assert np.median(error[same]) < 5e-3
        assert (there < z[seen] * 1.1).mean() > 0.97


def test_texture_sticks_to_things_from_frame_to_frame(filmed: Filmed) -> None:
    errors = []
    for _, clip in filmed:
        points = backproject(clip.depth[8], clip.K, clip.poses[8]).reshape(-1, 3)
        uv, z = project(points, clip.K, clip.poses[9])
        u, v = np.floor(uv).astype(int).T
        h, w = clip.depth[9].shape
        seen = (z > 0.1) & (u >= 0) & (u < w) & (v >= 0) & (v < h)
        close = np.abs(clip.depth[9][v[seen], u[seen]] - z[seen]) < 0.01
        a = clip.rgb[8].reshape(-1, 3)[seen][close].astype(int)
        b = clip.rgb[9][v[seen], u[seen]][close].astype(int)
        errors.append(np.median(np.abs(a - b)))
    assert max(errors) <= 4


def test_colours_survive_shading(filmed: Filmed) -> None:
    for room, clip in filmed:
        for thing in room.instances:
            pixels = clip.rgb[clip.ids == thing.id]
            if thing.colour in {"red", "green", "blue"} and len(pixels) > 500:
                assert pixels.mean(0).argmax() == ["red", "green", "blue"].index(thing.colour)


def test_a_frame_index_beyond_the_clip_is_an_error() -> None:
    with pytest.raises(ConfigError, match="out of range"):
        render(make_room(0), frames=4, indices=[4])


def test_a_clip_without_pixels_is_an_error() -> None:
    with pytest.raises(ConfigError, match="pixels"):
        render(make_room(0), width=0)
