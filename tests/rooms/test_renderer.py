from __future__ import annotations

import numpy as np
import pytest

from vega3d.errors import ConfigError
from vega3d.geometry import OrientedBox, backproject, contains, look_at, project
from vega3d.rooms import Clip, Room, make_room, render
from vega3d.rooms.furniture import CATEGORIES
from vega3d.rooms.scene import Instance, Light, Primitive, Surface

PLAIN = Surface((0.8, 0.2, 0.2), 0, 1.0, 0.0, (0.0, 0.0, 0.0))
Filmed = list[tuple[Room, Clip]]


def room_with(shape: str, box: OrientedBox) -> Room:
    part = Primitive(shape, box, PLAIN)  # type: ignore[arg-type]
    things = (Instance(1, "ball", "red", box, (part,)),)
    return Room(0, (6, 6, 3), things, PLAIN, PLAIN, PLAIN, (Light((0, 0, 2.8)),))


def look(
    room: Room, eye: tuple[float, ...], target: tuple[float, ...], n: int = 65
) -> tuple[np.ndarray, ...]:
    pose = look_at(eye, target)
    clip = render(room, width=n, height=n, frames=1, poses=pose[None])
    return clip.rgb[0], clip.depth[0], clip.ids[0], clip.K, pose


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


def test_every_point_of_a_sphere_is_a_radius_from_its_middle() -> None:
    box = OrientedBox((0.2, 0.5, 1.1), (0.8, 0.8, 0.8))
    _, depth, ids, K, pose = look(room_with("sphere", box), (0, -2, 1.6), (0.2, 0.5, 1.1))
    points = backproject(depth, K, pose)[ids == 1] - np.asarray(box.centre)
    assert len(points) > 50
    assert np.allclose(np.linalg.norm(points, axis=1), 0.4, atol=1e-4)


@pytest.mark.parametrize("distance", [0.3, 0.55])
def test_a_box_that_reaches_behind_the_camera_is_drawn_whole(distance: float) -> None:
    """The window of a box that crosses the camera's plane is clipped; casting without windows agrees."""
    box = OrientedBox((0.9, 0.4, 1.0), (0.4, 3.0, 1.4), 0.3)
    _, depth, ids, K, pose = look(room_with("box", box), (0.9 - 0.2 - distance, -1, 1.2), (0.4, 1, 1), n=80)
    points = backproject(depth, K, pose)
    behind = contains(box, points - pose[:3, 2] * 1e-3 * depth[..., None], margin=-2e-3)
    assert (ids == 1).any()
    assert not behind[ids == 0].any()


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
            for thing in room.at(float(clip.times[t])).instances:
                mine = points[clip.ids[t] == thing.id]
                assert contains(thing.box, mine, margin=2e-3).all()


def test_class_ids_are_those_of_the_things_categories(filmed: Filmed) -> None:
    for room, clip in filmed:
        for thing in room.instances:
            mine = clip.classes[clip.ids == thing.id]
            assert (mine == 1 + CATEGORIES.index(thing.category)).all()
        assert (clip.classes[clip.ids == 0] == 0).all()


def test_normals_are_those_of_the_planes_that_depth_shows() -> None:
    """Against finite differences of the back-projected depth, where four neighbours lie in one plane."""
    clip = render(make_room(3), width=96, height=96, frames=6, indices=[1, 4], normals=True)
    assert clip.normals is not None
    for depth, pose, normals in zip(clip.depth, clip.poses, clip.normals, strict=True):
        points = backproject(depth, clip.K, pose)
        right, down = points[1:-1, 2:] - points[1:-1, 1:-1], points[2:, 1:-1] - points[1:-1, 1:-1]
        left, up = points[1:-1, :-2] - points[1:-1, 1:-1], points[:-2, 1:-1] - points[1:-1, 1:-1]
        cross = np.cross(down, right)
        cross /= np.linalg.norm(cross, axis=-1, keepdims=True)
        other = np.cross(up, left)
        other /= np.linalg.norm(other, axis=-1, keepdims=True)
        flat = (cross * other).sum(-1) > 0.9999
        agreement = (cross * normals[1:-1, 1:-1]).sum(-1)
        assert np.mean(agreement[flat] > 0.99) > 0.97
        towards = ((pose[:3, 3] - points) * normals).sum(-1)
        assert (towards > -1e-3).all()


def test_what_moves_is_drawn_where_it_is_at_that_time() -> None:
    room = next(r for r in map(make_room, range(200)) if r.moves)
    assert room.at(0.0).instances == tuple(t.at(0.0) for t in room.instances)
    mover = next(t for t in room.instances if t.motion is not None)
    assert mover.at(0.0).box == mover.box
    end = np.asarray(mover.at(1.0).box.centre) - np.asarray(mover.box.centre)
    assert np.allclose(end, mover.motion.by, atol=2e-6)


def test_some_things_vanish_behind_others_and_come_back() -> None:
    """Hidden: its middle is inside the picture, nearer things are drawn there, and it was seen before."""
    rooms = [room for room in map(make_room, range(60)) if room.moves][:10]
    hidden = 0
    for room in rooms:
        clip = render(room, width=64, height=64, frames=32)
        for thing in room.instances:
            seen = (clip.ids == thing.id).any(axis=(1, 2))
            spots = [np.asarray([thing.at(float(when)).box.centre]) for when in clip.times]
            views = [project(p, clip.K, pose) for p, pose in zip(spots, clip.poses, strict=True)]
            inside = np.array([z[0] > 0 and (uv > 2).all() and (uv < 62).all() for uv, z in views])
            gone = np.flatnonzero(inside & ~seen)
            hidden += any(seen[:t].any() and seen[t + 1 :].any() for t in gone)
    assert hidden >= 4


def test_a_point_seen_in_one_frame_has_the_depth_that_the_next_frame_says(filmed: Filmed) -> None:
    for room, clip in filmed:
        if room.moves:
            continue
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
    for room, clip in filmed:
        if room.moves:
            continue
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
            if (
                thing.category in ("cabinet", "sofa", "chair", "ball", "stool")
                and thing.colour in {"red", "green", "blue"}
                and len(pixels) > 500
            ):
                assert pixels.mean(0).argmax() == ["red", "green", "blue"].index(thing.colour)


def test_a_frame_index_beyond_the_clip_is_an_error() -> None:
    with pytest.raises(ConfigError, match="out of range"):
        render(make_room(0), frames=4, indices=[4])


def test_a_clip_without_pixels_is_an_error() -> None:
    with pytest.raises(ConfigError, match="pixels"):
        render(make_room(0), width=0)
