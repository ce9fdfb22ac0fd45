"""Film, question and draw a room with exact answers, and separate two twins by parallax alone."""

import sys
from pathlib import Path

from vega3d.geometry import backproject, contains
from vega3d.rooms import make_questions, make_room, render
from vega3d.rooms.ames import film_ames, make_ames
from vega3d.rooms.show import write_pictures

out = Path(sys.argv[1] if len(sys.argv) > 1 else "out/room")
room = make_room(seed=7)
clip = render(room, width=96, height=96, frames=12)

# Depth, ids and boxes agree: the pixels of a thing are in its box.
points = backproject(clip.depth[0], clip.K, clip.poses[0])
for thing in room.instances:
    pixels = points[clip.ids[0] == thing.id]
    if len(pixels) > 50:
        inside = contains(thing.box, pixels, margin=1e-3).all()
        print(f"{thing.colour} {thing.category}: {len(pixels)} pixels, all in its box: {inside}")

for question in make_questions(room, clip, per_type=1):
    print(question.question_type, "|", question.question, "|", question.ground_truth)

for path in write_pictures(room, out):
    print(path)

# Two rooms: every sixth frame is the same picture, the frames between are not.
pair = make_ames(0)
near, far = (film_ames(pair, twin, width=64, height=64).rgb for twin in (0, 1))
print("differing values, sampled:", (near[::6] != far[::6]).mean(), "between:", (near[3] != far[3]).mean())
