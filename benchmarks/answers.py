"""Questions a second of a run, with and without what consecutive questions about a clip share.

Baseline: every question decodes, prepares and encodes its clip again, as a runner does that knows no clips.
Ours keeps the last clip. Both ask the shipped pico models about the same room, in turn; the answers are
compared. Medians of pairs, CPU seconds of this process.

usage: OMP_WAIT_POLICY=PASSIVE python benchmarks/answers.py [--questions 12] [--frames 8] [--pairs 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import vega3d
from vega3d.evaluation.run.model import EvalModel, EvalRequest
from vega3d.rooms import export_rooms


def alone(model: EvalModel, questions: Sequence[EvalRequest]) -> list[str]:
    """Each question with nothing kept from the one before."""
    answers = []
    for question in questions:
        model.forget()
        answers += model.answer([question])
    return answers


def shared(model: EvalModel, questions: Sequence[EvalRequest]) -> list[str]:
    """Ours: the clip is kept."""
    model.forget()
    return [model.answer([question])[0] for question in questions]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    assistant = vega3d.load("pico", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        export_rooms(folder, 1, frames=32)
        clip = next((Path(folder) / "rooms").glob("*.mp4"))
        questions = [EvalRequest(f"How many chairs are in room {n}?", clip) for n in range(options.questions)]
        print(
            f"{options.questions} questions about one clip, {options.frames} frames, 16 new tokens at most\n"
        )
        print("| model | each alone, questions/s | clip kept, questions/s | ratio | same answers |")
        print("|---|---|---|---|---|")
        for plain in (False, True):
            print(_row(EvalModel(assistant, options.frames, plain=plain), questions, options.pairs))


def _row(model: EvalModel, questions: Sequence[EvalRequest], pairs: int) -> str:
    seconds: dict[str, list[float]] = {"alone": [], "shared": []}
    answers: dict[str, list[str]] = {}
    for _ in range(pairs):
        for name, way in (("alone", alone), ("shared", shared)):
            start = time.process_time()
            answers[name] = way(model, questions)
            seconds[name].append(time.process_time() - start)
    slow, fast = (len(questions) / statistics.median(seconds[name]) for name in ("alone", "shared"))
    pairwise = zip(seconds["alone"], seconds["shared"], strict=True)
    ratio = statistics.median(a / b for a, b in pairwise)
    same = "yes" if answers["alone"] == answers["shared"] else "no"
    name = "host alone" if model.plain else "adapter"
    return f"| {name} | {slow:.2f} | {fast:.2f} | **{ratio:.2f}** | {same} |"


if __name__ == "__main__":
    main()
