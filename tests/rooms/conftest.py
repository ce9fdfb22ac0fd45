"""Rooms that the tests of this folder share: filmed once."""

from __future__ import annotations

import pytest

from vega3d.rooms import Clip, Room, make_room, render

SEEDS = (0, 1, 2, 3, 4, 9)


@pytest.fixture(scope="session")
def filmed() -> list[tuple[Room, Clip]]:
    return [(room, render(room, width=128, height=128, frames=24)) for room in map(make_room, SEEDS)]
