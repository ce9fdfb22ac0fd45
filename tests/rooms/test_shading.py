from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rooms.surface import sample
from vega3d.geometry import OrientedBox, look_at
from vega3d.rooms import Room, make_room, render
from vega3d.rooms.facts import axis_aligned
from vega3d.rooms.scene import TEXTURES, Instance, Light, Primitive, Surface
from vega3d.rooms.shading import evaluate, floor_shade

PLAIN = Surface((0.6, 0.6, 0.6), 0, 1.0, 0.0, (0.0, 0.0, 0.0))
BOX = OrientedBox((0, 0, 0.5), (0.8, 0.8, 1.0))


def room_with(surface: Surface = PLAIN, lamp: tuple[float, float, float] = (-2.5, 0, 2.8)) -> Room:
    thing = Instance(1, "cabinet", "gray", BOX, (Primitive("box", BOX, surface),))
    return Room(0, (6, 6, 3), (thing,), PLAIN, PLAIN, PLAIN, (Light(lamp),), shadows=True)


def gain_at(room: Room, x: float, y: float) -> float:
    shade = floor_shade(room)
    assert shade is not None
    return float(shade.sample(np.array([x], np.float32), np.array([y], np.float32))[0])


def test_behind_a_box_the_floor_is_darker_than_before_it() -> None:
    room = room_with()
    assert gain_at(room, 0.8, 0) < 0.7
    assert gain_at(room, -1.5, 0) > 0.95
    assert gain_at(room, 0, 2.5) > 0.95


def test_the_corner_between_a_box_and_the_floor_is_darker_even_on_the_lit_side() -> None:
    room = room_with()
    assert gain_at(room, -0.45, 0) < gain_at(room, -1.0, 0)


def test_a_room_without_shadows_has_none() -> None:
    assert floor_shade(replace(room_with(), shadows=False)) is None


def look(room: Room) -> np.ndarray:
    pose = look_at((0, -2, 0.5), (0, 0, 0.5))
    clip = render(room, width=64, height=64, frames=1, poses=pose[None], fov_x=60)
    return clip.rgb[clip.ids == 1].astype(float)


def test_the_side_towards_the_lamp_is_brighter() -> None:
    assert look(room_with(lamp=(0, -2.5, 2))).mean() > look(room_with(lamp=(0, 2.5, 2))).mean() + 20


def test_what_shines_fully_takes_no_light() -> None:
    shining = replace(PLAIN, glow=1.0)
    a, b = (look(room_with(shining, lamp)) for lamp in ((0, -2.5, 2), (0, 2.5, 2)))
    assert (a == b).all()
    assert np.allclose(a, 0.6 * 255, atol=1)


@pytest.mark.parametrize("name", TEXTURES)
def test_a_texture_stays_near_its_base_colour(name: str) -> None:
    a, b = (np.random.default_rng(0).uniform(-9, 9, (2, 5000))).astype(np.float32)
    kind = np.full(5000, TEXTURES.index(name), np.int32)
    value = evaluate(kind, a, b)
    assert np.abs(value).max() <= 1.7
    assert (value == 0).all() == (name == "plain")


@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(-3, 3))
def test_patterns_repeat_after_a_period(a: float, b: float, turns: int) -> None:
    for name in ("checker", "stripes", "weave", "dots"):
        kind = np.full(2, TEXTURES.index(name), np.int32)
        x, y = np.array([a, a + turns], np.float32), np.array([b, b], np.float32)
        first, again = evaluate(kind, x, y)
        assert abs(first - again) < 2e-3


def test_fine_textures_fade_with_distance_instead_of_aliasing() -> None:
    def spread(period: float) -> float:
        surface = Surface((0.6, 0.6, 0.6), TEXTURES.index("checker"), period, 0.4, (0.0, 0.0, 0.0))
        return float(look(room_with(surface)).std())

    assert spread(0.4) > 10
    assert spread(0.004) < spread(0.4) / 4


def test_axis_aligned_boxes_are_those_of_sampled_points() -> None:
    for seed in range(6):
        for thing in make_room(seed).instances:
            points = sample(thing, 0.03)
            low, high = axis_aligned(thing)
            assert np.allclose(low, points.min(0), atol=0.012)
            assert np.allclose(high, points.max(0), atol=0.012)
