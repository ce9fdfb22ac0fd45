"""Seconds of every step from a video to an answer, with the shipped models, on this machine.

Prints one line a step: median and fastest of several repeats. The models are tiny, so this shows what
vega3d itself adds and where a change made something slower; it says nothing about the speed of real models.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import vega3d
from timing import repeated
from vega3d.pipeline import Pipeline
from vega3d.rooms import make_room, render, write_mp4

QUESTION = "How many chairs are there?"


def steps(assistant: Pipeline, video: Path, frames: int) -> dict[str, Callable[[], Any]]:
    """The steps by name, each with its own inputs ready."""
    model, inputs = assistant.adapter, assistant.prepare(video, QUESTION, frames)
    media = {"pixel_values_videos", "video_grid_thw", "generative_clips"}
    text = {name: value for name, value in inputs.items() if name not in media}
    encoding = model.encode(**inputs)
    (clip,) = inputs["generative_clips"]
    pixels, grid = inputs["pixel_values_videos"], inputs["video_grid_thw"]
    return {
        "decode and prepare": lambda: assistant.prepare(video, QUESTION, frames),
        "generator alone": lambda: model.backbone([clip.frames], [clip.plan]),
        "host's encoder alone": lambda: model.host.get_video_features(pixels, grid),
        "encode (both, fused)": lambda: model.encode(**inputs),
        "generate 8 tokens": lambda: model.generate(
            encoding=encoding, **text, min_new_tokens=8, max_new_tokens=8, do_sample=False
        ),
    }


def synchronised(run: Callable[[], Any]) -> None:
    """Run, and wait for the GPU if there is one."""
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=8, help="frames of the video (default: 8)")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each step (default: 5)")
    arguments = parser.parse_args()
    assistant = vega3d.load("pico")
    with tempfile.TemporaryDirectory() as folder:
        clip = render(make_room(seed=200_000_005))
        video = Path(folder) / "room.mp4"
        write_mp4(video, clip.rgb, clip.fps)
        print(f"{arguments.frames} frames on {assistant.adapter.device}, {torch.get_num_threads()} threads")
        for name, run in steps(assistant, video, arguments.frames).items():
            times = repeated(lambda run=run: synchronised(run), arguments.repeats)
            print(f"{name:22} median {statistics.median(times):8.3f} s   fastest {min(times):8.3f} s")


if __name__ == "__main__":
    main()
