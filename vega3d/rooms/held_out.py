"""Families of questions and styles of rooms that the pico host was never trained on.

Decision: the split is written down here and nowhere else. Training, its card, its tests and every later
fine-tuning run ask these two functions, so that "held out" means the same everywhere. Two ideas that frames
show and that other questions do not give away are held out to be learned later: how big the room is, and what
comes into view first, each in the benchmark's wording and in plain words. Routes are left out because they
chain two or three directions, and a host of this size does not even learn one. The styles are a floor and a
wallpaper.
"""

from __future__ import annotations

from vega3d.rooms.scene import TEXTURES, Room

HELD_OUT_FAMILIES = ("room_size_estimation", "area", "obj_appearance_order", "first", "route_planning")
"""Types of ``make_questions`` and families of ``make_chat_questions``."""

HELD_OUT_FLOOR, HELD_OUT_WALLS = "checker", "dots"
"""Textures: about a third of all rooms have one of them."""


def family_is_held_out(family: str) -> bool:
    """True if the host was never trained on a question of this type or chat family."""
    return family in HELD_OUT_FAMILIES


def room_is_held_out(room: Room) -> bool:
    """True if the host was never trained on a room of this style."""
    return TEXTURES[room.floor.texture] == HELD_OUT_FLOOR or TEXTURES[room.walls.texture] == HELD_OUT_WALLS
