from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rooms.surface import sample
from vega3d.errors import ConfigError
from vega3d.geometry import contains, corners, footprint, outlines_overlap, to_local
from vega3d.rooms import FRAMES, KINDS, camera_path, make_room, scene_seed

seeds = st.integers(0, 10**6)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_room(seed: int) -> None:
    assert make_room(seed) == make_room(seed)


def test_different_seeds_give_different_rooms() -> None:
    assert len({make_room(seed).size for seed in range(50)}) == 50


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_no_two_things_stand_in_each_other_and_all_stand_in_the_room(seed: int) -> None:
    room = make_room(seed)
    assert len(room.instances) >= 3
    for a, b in combinations(room.instances, 2):
        assert not outlines_overlap(footprint(a.box), footprint(b.box))
    for thing in room.instances:
        points = corners(thing.box)
        assert (np.abs(points[:, :2]) <= np.asarray(room.size[:2]) / 2).all()
        assert points[:, 2].min() >= -1e-9
        assert points[:, 2].max() <= room.size[2]


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_the_box_of_a_thing_is_tight_around_its_primitives(seed: int) -> None:
    for thing in make_room(seed).instances:
        local = to_local(thing.box, sample(thing))
        assert np.allclose(local.max(0), np.asarray(thing.box.size) / 2, atol=0.01)
        assert np.allclose(local.min(0), -np.asarray(thing.box.size) / 2, atol=0.01)


def test_every_kind_of_furniture_occurs_and_some_kinds_occur_several_times() -> None:
    rooms = [make_room(seed) for seed in range(60)]
    assert {name for room in rooms for name in room.by_category} == set(KINDS)
    assert {len(things) for room in rooms for things in room.by_category.values()} == {1, 2, 3, 4}


def test_a_negative_seed_is_an_error_that_says_so() -> None:
    with pytest.raises(ConfigError, match="negative"):
        make_room(-1)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_camera_stays_in_the_room_and_out_of_things(seed: int) -> None:
    room = make_room(seed)
    eyes = camera_path(room, FRAMES)[:, :3, 3]
    assert (np.abs(eyes[:, :2]) < np.asarray(room.size[:2]) / 2 - 0.3).all()
    assert (eyes[:, 2] < room.size[2] - 0.2).all()
    assert not any(contains(thing.box, eyes, 0.05).any() for thing in room.instances)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_camera_moves_smoothly(seed: int) -> None:
    poses = camera_path(make_room(seed), FRAMES)
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    turns = np.degrees(np.arccos(np.clip((poses[1:, :3, 2] * poses[:-1, :3, 2]).sum(1), -1, 1)))
    assert steps.max() < 0.35
    assert turns.max() < 9


@given(st.integers(0, 9999), st.integers(0, 9999), st.integers(0, 9999), st.integers(0, 9999))
def test_scenes_of_two_splits_never_share_a_seed(a: int, i: int, b: int, j: int) -> None:
    assert len({scene_seed("train", a, i), scene_seed("val", b, j), scene_seed("test", a, j)}) == 3


def test_an_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="test"):
        scene_seed("tset", 0, 0)  # type: ignore[arg-type]
