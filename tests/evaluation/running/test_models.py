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

from tests.evaluation.running.fakes import read
from vega3d.assistant import Assistant
from vega3d.cli.main import main
from vega3d.evaluation.running.answerer import Answerer, As, Asked
from vega3d.rooms import export_rooms

FRAMES, KILLS = 4, int(os.environ.get("VEGA3D_EVAL_KILLS", "3"))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small rooms with their questions."""
    return export_rooms(
        tmp_path_factory.mktemp("rooms"), 2, width=128, height=128, frames=16, per_type=1
    ).parent


@pytest.fixture(scope="module")
def pico() -> Assistant:
    return Assistant.load("pico", device="cpu")


def asked(rooms: Path, donor: bool = False) -> Asked:
    one, two = sorted((rooms / "rooms").glob("*.mp4"))
    return Asked("How many chairs are in this room?", one, donor=two if donor else None)


def command(rooms: Path, out: Path, *more: str) -> list[str]:
    options = ["--data", str(rooms), "--out", str(out), "--frames", str(FRAMES), "--device", "cpu", "--quiet"]
    return ["eval", "run", "pico", "--tasks", "vsibench", *options, *more]


def files(out: Path) -> tuple[bytes, bytes]:
    return (out / "vsibench" / "result.json").read_bytes(), (out / "vsibench" / "samples.jsonl").read_bytes()


def test_frames_are_evenly_spaced_with_both_ends(rooms: Path, pico: Assistant) -> None:
    video = asked(rooms).media
    assert Answerer(pico, 4).places(video) == [0, 5, 10, 15]
    assert Answerer(pico, 32).places(video) == list(range(16))


@pytest.mark.parametrize("send", ["images", "video"])
def test_an_untrained_wrapping_answers_as_the_host_alone(rooms: Path, pico: Assistant, send: As) -> None:
    answers = [Answerer(pico, FRAMES, send, plain=plain).answer([asked(rooms)]) for plain in (True, False)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("send", ["images", "video"])
def test_a_swapped_run_gives_the_generator_the_other_clip(
    rooms: Path, pico: Assistant, send: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    encode = pico.model.encode

    def seen(**inputs: Any) -> Any:
        calls.append((encode(**inputs), inputs))
        return calls[-1][0]

    monkeypatch.setattr(pico.model, "encode", seen)
    other = Asked(asked(rooms).prompt, asked(rooms, True).donor or Path())
    for question in (asked(rooms), asked(rooms, True), other):
        Answerer(pico, FRAMES, send, 2).answer([question])
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


def test_a_run_killed_at_random_moments_ends_in_the_same_files(rooms: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    line = [sys.executable, "-m", "vega3d.cli.main"]
    subprocess.run([*line, *command(rooms, tmp_path / "whole")], check=True, timeout=200)
    whole, chance = time.monotonic() - start, random.Random(0)
    for _ in range(KILLS):
        process = subprocess.Popen([*line, *command(rooms, tmp_path / "cut")])
        try:
            process.wait(timeout=whole * chance.uniform(0.4, 1))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    subprocess.run([*line, *command(rooms, tmp_path / "cut")], check=True, timeout=200)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_two_processes_end_in_the_same_files_as_one(rooms: Path, tmp_path: Path) -> None:
    assert main(command(rooms, tmp_path / "one")) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*launch, "-m", "vega3d.cli.main", *command(rooms, tmp_path / "two")], check=True, timeout=250
    )
    assert len(list((tmp_path / "two" / "vsibench" / "parts").glob("*.jsonl"))) == 2
    assert files(tmp_path / "two") == files(tmp_path / "one")
