"""Ask about an Ames pair: two rooms whose sampled frames are the same. Only the branch can separate them."""

import sys
from pathlib import Path

import vega3d
from vega3d.evaluation.run.model import EvalModel, EvalRequest
from vega3d.rooms import write_mp4
from vega3d.rooms.ames import ames_questions, film_ames, make_ames

out = Path(sys.argv[1] if len(sys.argv) > 1 else "out/ames")
assistant = vega3d.load(sys.argv[2] if len(sys.argv) > 2 else "pico")  # or a checkpoint of yours

# One thing is small and near in one video, large and far in the other; sampled frames do not differ.
pair = make_ames(200_000_003)
videos = [out / f"{pair.name(twin)}.mp4" for twin in (0, 1)]
for twin, video in enumerate(videos):
    clip = film_ames(pair, twin)
    write_mp4(video, clip.rgb, clip.fps)

seen = {"host alone": (True, False), "fused": (False, False), "fused, features of the other": (False, True)}
for number, question in enumerate(ames_questions(pair, 0)):
    text = "\n".join([question["question"], *(question["options"] or [])])
    truths = [ames_questions(pair, twin)[number]["ground_truth"] for twin in (0, 1)]
    print(f"\n{text}\n  truth: {truths[0]} and {truths[1]}")
    answers = {}
    for name, (plain, swapped) in seen.items():
        model = EvalModel(assistant, frames=8, send="video", plain=plain)
        pairs = [EvalRequest(text, videos[t], donor=videos[1 - t] if swapped else None) for t in (0, 1)]
        answers[name] = [model.answer([asked])[0].strip() for asked in pairs]
        print(f"  {name}: {answers[name][0]!r} and {answers[name][1]!r}")
    own, other = answers["fused"], answers["fused, features of the other"]
    flips = own[0] != own[1] and own == other[::-1]
    print(
        "  The answer flips with the features." if flips else "  The answer does not flip with the features."
    )
