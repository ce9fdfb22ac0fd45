"""A procedural world with exact geometry: seeded rooms, a renderer, questions with exact answers.

    room = make_room(7)
    clip = render(room)                       # rgb, depth, ids, K, poses
    write_mp4("room.mp4", clip.rgb, clip.fps, comment=rooms_tag(room.seed))
    questions = make_questions(room, clip)    # VSI-Bench rows

numpy only; PyAV is imported when a video is written or its tag is read.
"""

from __future__ import annotations

from vega3d.rooms.camera import Shake, Style, camera_path
from vega3d.rooms.catalogue import COLOURS, MATERIALS, plural
from vega3d.rooms.export import Split, export_rooms, scene_seed
from vega3d.rooms.furniture import CATEGORIES, KINDS
from vega3d.rooms.layout import make_room
from vega3d.rooms.plain import PlainQuestion, plain_questions
from vega3d.rooms.questions import MULTIPLE_CHOICE, NUMERIC, QUESTION_TYPES, Question, make_questions
from vega3d.rooms.renderer import FPS, FRAMES, Clip, render
from vega3d.rooms.scene import ROOMS_VERSION, Instance, Light, Motion, Primitive, Room, Surface
from vega3d.rooms.video import is_rooms_video, rooms_seed, rooms_source, rooms_tag, write_mp4

__all__ = [
    "CATEGORIES",
    "COLOURS",
    "FPS",
    "FRAMES",
    "KINDS",
    "MATERIALS",
    "MULTIPLE_CHOICE",
    "NUMERIC",
    "QUESTION_TYPES",
    "ROOMS_VERSION",
    "Clip",
    "Instance",
    "Light",
    "Motion",
    "PlainQuestion",
    "Primitive",
    "Question",
    "Room",
    "Shake",
    "Split",
    "Style",
    "Surface",
    "camera_path",
    "export_rooms",
    "is_rooms_video",
    "make_questions",
    "make_room",
    "plain_questions",
    "plural",
    "render",
    "rooms_seed",
    "rooms_source",
    "rooms_tag",
    "scene_seed",
    "write_mp4",
]
