"""Compute the generator's features once, store them, and answer from them without the generator."""

import json
import sys
from pathlib import Path

import vega3d
from vega3d.cli.main import main
from vega3d.rooms import make_room, render
from vega3d.store import FeatureStore

out = Path(sys.argv[1] if len(sys.argv) > 1 else "out/cache")

# Two videos, and a file of questions about them. Any videos and any LLaVA-style file work too.
rows = []
for seed in (200_000_123, 200_000_124):
    clip = render(make_room(seed=seed))
    video = out / f"{seed}.mp4"
    clip.save(video)
    rows += [{"video": video.name}] * 3  # three questions about each: their frames are stored once
annotations = out / "train.json"
annotations.write_text(json.dumps(rows))

# The same as `vega3d cache estimate ...` and so on, in a shell. "pico" ships with vega3d.
sampling = ["--nframes", "8"]
main(["cache", "estimate", str(annotations), "--backbone", "pico", *sampling])
main(["cache", "build", str(out / "features"), str(annotations), "--backbone", "pico", *sampling])
main(["cache", "stats", str(out / "features"), str(annotations), *sampling])

# Answers are the same, and no generator is loaded.
question = "How many chairs are there?"
video = out / "200000123.mp4"
live = vega3d.load("pico").ask(video, question)
stored = vega3d.load("pico", "none", store=out / "features").ask(video, question)
print(f"computed: {live.text}   stored: {stored.text}")
assert live.text == stored.text
assert len(FeatureStore(out / "features")) == 16
