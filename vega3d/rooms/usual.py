"""Closer than usual: a depth question that takes one look-up and has two answers.

"Is the chair closer to the camera than usual?" A kind's usual distance is a range, from the 45th to the 55th
percentile over the sampled frames of training rooms. What lies inside is not asked. So half of all things of
a kind are closer: the name alone, and the best constant for each kind, are at chance. A picture shows the
answer, which is the point: this is a question of depth and not of motion, and its twins have one answer.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vega3d.rooms.facts import Visibility
from vega3d.rooms.questions import Question
from vega3d.rooms.renderer import Clip
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Room
from vega3d.rooms.twins import lettered

TYPE = "closer_than_usual"
COVER = 0.01
"""Share of the picture that a thing has to cover."""
FEWEST = 20  # things of a kind that a range is taken of
LOW, HIGH = 45, 55  # percentiles

# fmt: off
USUAL: dict[str, tuple[float, float]] = {
    "backpack": (1.786, 1.936), "ball": (1.403, 1.566), "basket": (1.777, 1.918), "bed": (1.785, 1.969),
    "bench": (1.699, 1.884), "bin": (1.569, 1.749), "cabinet": (3.321, 3.609), "chair": (1.962, 2.158),
    "desk": (2.59, 2.726), "door": (3.256, 3.5), "fridge": (3.183, 3.449), "lamp": (1.501, 1.723),
    "mirror": (2.762, 3.02), "picture": (2.627, 2.779), "plant": (1.741, 2.027),
    "radiator": (2.957, 3.056), "shelf": (3.412, 3.677), "sofa": (2.904, 3.168), "stool": (1.61, 1.678),
    "suitcase": (1.432, 1.597), "table": (1.565, 1.81), "tv": (3.018, 3.346), "wardrobe": (3.161, 3.37),
    "window": (3.242, 3.572),
}
# fmt: on
"""Metres by kind: `ranges` of the camera twins 0 to 599 of run 70 of the split ``train``."""


def distances(room: Room, clip: Clip, frame: int) -> dict[str, float]:
    """Metres by kind of the things in a frame that are alone of their kind: median depth of their pixels."""
    visible = Visibility(room, clip.ids[frame : frame + 1], COVER)
    depth, ids = clip.depth[frame], clip.ids[frame]
    return {name: float(np.median(depth[ids == thing.id])) for name, thing in visible.unique.items()}


def ranges(found: Iterable[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """The usual range of each kind that was found often enough."""
    metres: dict[str, list[float]] = {}
    for scene in found:
        for name, value in scene.items():
            metres.setdefault(name, []).append(value)
    return {
        name: (round(float(np.percentile(values, LOW)), 3), round(float(np.percentile(values, HIGH)), 3))
        for name, values in sorted(metres.items())
        if len(values) >= FEWEST
    }


def usual_question(room: Room, clip: Clip, frame: int, scene: str) -> Question | None:
    """One question about a frame: the answer is drawn first, then a thing that has it; None without one."""
    rng = Rng(room.version, room.seed, 72)
    closer: dict[str, list[str]] = {"yes": [], "no": []}
    for name, metres in sorted(distances(room, clip, frame).items()):
        low, high = USUAL.get(name, (0.0, np.inf))
        if not low <= metres <= high:
            closer["yes" if metres < low else "no"].append(name)
    answer = rng.pick(("yes", "no"))
    if not closer[answer]:
        return None
    text = f"Is the {rng.pick(closer[answer])} closer to the camera than usual?"
    options = rng.some(("yes", "no"))
    return Question(0, "twins", scene, TYPE, text, lettered(options), "AB"[options.index(answer)])
