"""A procedural world with exact geometry: seeded rooms, a renderer, questions with exact answers.

    room = make_room(7)
    clip = render(room)                       # rgb, depth, ids, K, poses
    clip.save("room.mp4")
    questions = make_questions(room, clip)    # VSI-Bench rows

numpy only; PyAV is imported when a video is written or its tag is read.
"""

from __future__ import annotations

from vega3d._utils import moved
from vega3d.rooms.camera import camera_path
from vega3d.rooms.chat_questions import make_chat_questions
from vega3d.rooms.formats.motion import export_motion, make_twins
from vega3d.rooms.formats.vsibench import export_rooms
from vega3d.rooms.formats.writer import Split, scene_seed
from vega3d.rooms.layout import make_room
from vega3d.rooms.questions import make_questions
from vega3d.rooms.renderer import Clip, render
from vega3d.rooms.scene import Room
from vega3d.rooms.twins import TwinPair
from vega3d.rooms.video import rooms_source, rooms_tag, write_mp4

__all__ = [
    "Clip",
    "Room",
    "Split",
    "TwinPair",
    "camera_path",
    "export_motion",
    "export_rooms",
    "make_chat_questions",
    "make_questions",
    "make_room",
    "make_twins",
    "render",
    "rooms_source",
    "rooms_tag",
    "scene_seed",
    "write_mp4",
]

__getattr__ = moved.names(__name__, {"plain_questions": "vega3d.rooms.chat_questions:make_chat_questions"})
