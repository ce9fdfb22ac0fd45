"""Runs with the shipped models: the host alone, its wrapping, swapped features, kills."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import vega3d
from tests.evaluation.run.fakes import read
from vega3d.cli.main import main
from vega3d.evaluation import media
from vega3d.evaluation.run import model as model_module
from vega3d.evaluation.run.model import GENERATIVE, As, EvalModel, EvalRequest
from vega3d.evaluation.run.prefix_cache import repeated
from vega3d.pipeline import Pipeline
from vega3d.rooms import export_rooms

FRAMES = 4


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small rooms with their questions."""
    return export_rooms(
        tmp_path_factory.mktemp("rooms"), 2, width=128, height=128, frames=16, per_type=1
    ).parent


@pytest.fixture(scope="module")
def pico() -> Pipeline:
    return vega3d.load("pico", device="cpu")


def asked(rooms: Path, donor: bool = False) -> EvalRequest:
    one, two = sorted((rooms / "rooms").glob("*.mp4"))
    return EvalRequest("How many chairs are in this room?", one, donor=two if donor else None)


def command(rooms: Path, out: Path, *more: str) -> list[str]:
    options = ["--data", str(rooms), "--out", str(out), "--frames", str(FRAMES), "--device", "cpu", "--quiet"]
    return ["eval", "run", "pico", "--tasks", "vsibench", *options, *more]


def files(out: Path) -> tuple[bytes, bytes]:
    return (out / "vsibench" / "result.json").read_bytes(), (out / "vsibench" / "samples.jsonl").read_bytes()


def test_frames_are_evenly_spaced_with_both_ends(rooms: Path, pico: Pipeline) -> None:
    video = asked(rooms).media
    assert EvalModel(pico, 4).places(video) == [0, 5, 10, 15]
    assert EvalModel(pico, 32).places(video) == list(range(16))


@pytest.mark.parametrize("send", ["images", "video"])
def test_questions_about_a_prepared_clip_are_what_the_processor_would_give(
    rooms: Path, pico: Pipeline, send: As
) -> None:
    answerer = EvalModel(pico, FRAMES, send)
    clip = asked(rooms).media
    batch = [
        EvalRequest(text, clip, "You help.")
        for text in ("How many chairs?", "Is this a room, or is it none?")
    ]
    one, tokens = answerer._clip(batch[0]), [answerer.prepare(question).tokens for question in batch]
    ours = one.batch(tokens) | repeated(
        {name: value for name, value in one.media.items() if name not in GENERATIVE}, 2
    )
    frames = media.read(clip, answerer.places(clip))
    pictures = [{"type": "image", "image": frame, "clip": "clip"} for frame in frames]
    video = [{"type": "video", "video": str(clip), "nframes": FRAMES}]
    messages = [
        [
            {"role": "system", "content": [{"type": "text", "text": question.system}]},
            {
                "role": "user",
                "content": [
                    *(video if send == "video" else pictures),
                    {"type": "text", "text": question.prompt},
                ],
            },
        ]
        for question in batch
    ]
    theirs = pico.processor.apply_chat_template(messages)
    assert {name for name in theirs if name not in GENERATIVE} == set(ours)
    for name, value in ours.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[name])), name


def test_a_clip_is_decoded_and_encoded_once_for_all_of_its_questions(
    rooms: Path, pico: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"decode": 0, "encode": 0}

    def counted(name: str, call: Any) -> Any:
        def run(*values: Any, **named: Any) -> Any:
            counts[name] += 1
            return call(*values, **named)

        return run

    monkeypatch.setattr(model_module, "read", counted("decode", media.read))
    monkeypatch.setattr(pico.adapter, "encode", counted("encode", pico.adapter.encode))
    answerer, clip = EvalModel(pico, FRAMES, max_new_tokens=2), asked(rooms).media
    for size in (1, 2, 1):
        answerer.answer([EvalRequest(f"Question {number}?", clip) for number in range(size)])
    assert counts == {"decode": 1, "encode": 1}


@pytest.mark.parametrize("send", ["images", "video"])
def test_in_float32_a_batch_answers_as_its_questions_alone(rooms: Path, send: As) -> None:
    assistant = vega3d.load("pico", device="cpu")
    assistant.adapter.host.float()
    clip = asked(rooms).media
    questions = [
        EvalRequest(text, clip) for text in ("How many chairs?", "What is the size of this room in cm?")
    ]
    answerer = EvalModel(assistant, FRAMES, send, 8)
    assert answerer.answer(questions) == [answerer.answer([question])[0] for question in questions]


@pytest.mark.parametrize("send", ["images", "video"])
def test_an_untrained_wrapping_answers_as_the_host_alone(rooms: Path, pico: Pipeline, send: As) -> None:
    answers = [EvalModel(pico, FRAMES, send, plain=plain).answer([asked(rooms)]) for plain in (True, False)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("send", ["images", "video"])
def test_a_swapped_run_gives_the_generator_the_other_clip(
    rooms: Path, pico: Pipeline, send: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    encode = pico.adapter.encode

    def seen(**inputs: Any) -> Any:
        calls.append((encode(**inputs), inputs))
        return calls[-1][0]

    monkeypatch.setattr(pico.adapter, "encode", seen)
    other = EvalRequest(asked(rooms).prompt, asked(rooms, True).donor or Path())
    for question in (asked(rooms), asked(rooms, True), other):
        EvalModel(pico, FRAMES, send, 2).answer([question])
    maps = dict(zip(("own", "swapped", "other"), calls, strict=True))
    features = {name: found[0].maps[0].features for name, found in maps.items()}
    pixels = {
        name: found[1]["pixel_values_videos" if send == "video" else "pixel_values"]
        for name, found in maps.items()
    }
    assert torch.equal(features["swapped"], features["other"])
    assert not torch.equal(features["swapped"], features["own"])
    assert torch.equal(pixels["swapped"], pixels["own"])


def test_a_corrupt_video_is_an_error_and_the_exit_code_says_so(rooms: Path, tmp_path: Path) -> None:
    data = shutil.copytree(rooms, tmp_path / "data")
    broken = sorted((data / "rooms").glob("*.mp4"))[0]
    broken.write_bytes(broken.read_bytes()[:2000])
    assert main(command(data, tmp_path / "run")) == 1
    rows = read(tmp_path / "run" / "vsibench")
    assert {row["error"] is not None for row in rows if row["media"] == str(broken)} == {True}
    assert {row["error"] for row in rows if row["media"] != str(broken)} == {None}


def killed_at(moment: float, line: list[str]) -> bool:
    """Run a command in a copy of this process, kill it after so many seconds; whether it was still alive."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(main(line))
        finally:
            os._exit(1)
    end = time.monotonic() + moment
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [3, pytest.param(15, marks=pytest.mark.full)])
def test_a_run_killed_at_random_moments_ends_in_the_same_files(
    kills: int, rooms: Path, tmp_path: Path
) -> None:
    """A run that ended before its kill has to be right; the next one then begins anew."""
    cut, start = tmp_path / "cut", time.monotonic()
    assert not killed_at(600, command(rooms, tmp_path / "whole", "--limit", "6"))
    whole, chance, killed = time.monotonic() - start, random.Random(0), 0
    while killed < kills:
        if killed_at(whole * chance.uniform(0.05, 0.9), command(rooms, cut, "--limit", "6")):
            killed += 1
        else:
            assert files(cut) == files(tmp_path / "whole")
            shutil.rmtree(cut)
    assert main(command(rooms, cut, "--limit", "6")) == 0
    assert files(cut) == files(tmp_path / "whole")


@pytest.mark.full
def test_two_processes_end_in_the_same_files_as_one(rooms: Path, tmp_path: Path) -> None:
    assert main(command(rooms, tmp_path / "one")) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*launch, "-m", "vega3d.cli.main", *command(rooms, tmp_path / "two")], check=True, timeout=550
    )
    assert len(list((tmp_path / "two" / "vsibench" / "parts").glob("*.jsonl"))) == 2
    assert files(tmp_path / "two") == files(tmp_path / "one")
