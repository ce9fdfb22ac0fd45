"""Routes: start at one thing, walk straight to the next, turn, walk on. What are the turns?

Decision: a robot walks from centre to centre of things, seen from above. A leg is good when nothing else
stands in its way; a turn is a fact when it is plainly left, right or back. The sequences of turns are drawn
first, then a route that has one of them, so that no sequence is likelier than another.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise, permutations

import numpy as np

from vega3d.geometry import footprint, outlines_overlap
from vega3d.rooms.facts import QuestionDraft, Visibility, floor_distance, turn
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance, Room, grouped

_LOWEST = 0.25  # metres: a robot is stopped by what is higher and stands lower than itself
_WIDTH = 0.2  # metres that a robot needs
_LEG = 0.9  # metres of the shortest leg


def route(rng: Rng, visible: Visibility, most: int) -> list[QuestionDraft]:
    """Routes over three or four things; one or two turns to fill in."""
    free, walks = _free_legs(visible), []
    for count, candidates in ((3, 12), (4, 8)):
        names = rng.some(sorted(visible.unique), candidates)
        walks += [stops for stops in permutations(names, count) if free.issuperset(pairwise(stops))]
    routes = grouped((turns_of([visible.unique[name] for name in stops]), stops) for stops in walks)
    drafts: list[QuestionDraft] = []
    for count in rng.some([1, 1, 2, 2, 2]):
        # Wrong options are turns of other routes of this room: as likely as the right ones.
        known = sorted(turns for turns in routes if len(turns) == count)
        options = rng.some(known, 4)
        if len(options) < (3 if count == 1 else 4) or len(drafts) == most:
            continue
        text = _text(rng.pick(routes[options[0]]))
        drafts.append(("route_planning", text, tuple(", ".join(o) for o in options)))
    return drafts


def turns_of(stops: Sequence[Instance]) -> tuple[str, ...] | None:
    """The turns at the inner stops, None where one of them is a close call or goes straight on."""
    places = [np.asarray(thing.box.centre[:2]) for thing in stops]
    words = []
    for before, here, after in zip(places, places[1:], places[2:], strict=False):
        angle = turn(here - before, after - here)
        if abs(angle) >= 155:
            words.append("Turn Back")
        elif 50 <= abs(angle) <= 125:
            words.append("Turn Left" if angle > 0 else "Turn Right")
        else:
            return None
    return tuple(words)


def _free_legs(visible: Visibility) -> set[tuple[str, str]]:
    """Ordered pairs of seen things between which a robot can go straight."""
    free = set()
    for a, b in combinations(visible.unique.values(), 2):
        if floor_distance(a, b) >= _LEG and _is_free(visible.room, a, b):
            free |= {(a.category, b.category), (b.category, a.category)}
    return free


def _is_free(room: Room, start: Instance, end: Instance) -> bool:
    here, there = (np.asarray(thing.box.centre[:2]) for thing in (start, end))
    along = (there - here) / np.linalg.norm(there - here)
    side = np.array([-along[1], along[0]]) * _WIDTH
    lane = np.stack([here - side, there - side, there + side, here + side])
    carriers = {start.id, end.id, start.parent, end.parent}
    standing = [t.box for t in room.instances if t.parent == 0 and t.id not in carriers]
    blocking = [box for box in standing if box.z_range[0] < 1.0 and box.z_range[1] > _LOWEST]
    return not any(outlines_overlap(lane, footprint(box)) for box in blocking)


def _text(stops: Sequence[str]) -> str:
    first, second, *rest = stops
    lines = [f"1. Go forward until the {second}"]
    for name in rest:
        lines.append(f"{len(lines) + 1}. [please fill in]")
        lines.append(f"{len(lines) + 1}. Go forward until the {name}")
    return (
        f"You are a robot beginning at the {first} and facing the {second}. You want to navigate to the "
        f"{stops[-1]}. You will perform the following actions (Note: for each [please fill in], choose "
        f"either 'turn back,' 'turn left,' or 'turn right.'): {' '.join(lines)}. You have reached the final "
        "destination."
    )
