"""The command line as a user meets it: answers, exit codes, help, errors of one screen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vega3d
from vega3d.cli.main import build_parser, main
from vega3d.rooms import make_room, render, rooms_tag, write_mp4

QUESTION = "How many chairs are there?"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "room.mp4"
    clip = render(make_room(200_000_001), width=128, height=128, frames=9)
    write_mp4(path, clip.rgb, clip.fps, comment=rooms_tag(200_000_001))
    return str(path)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "noise.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (9, 64, 96, 3), dtype=np.uint8)
    write_mp4(path, frames, 8.0)
    return str(path)


def test_ask_prints_the_answer_and_nothing_else_on_standard_output(
    room: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", room, QUESTION]) == 0
    out = capsys.readouterr().out
    assert len(out.strip().splitlines()) == 1


def test_ask_names_device_and_attention_back_end(room: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ask", room, QUESTION, "--device", "cpu"])
    assert "device cpu, attention sdpa in the host" in capsys.readouterr().err


def test_ask_as_json_says_what_answered(room: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ask", room, QUESTION, "--json", "--frames", "4"])
    record = json.loads(capsys.readouterr().out)
    assert record["question"] == QUESTION
    assert (record["model"], record["frames"], record["trained_fusion"]) == ("pico", 4, False)
    assert isinstance(record["answer"], str)


def test_pico_says_plainly_that_it_only_knows_rooms(other: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ask", other, QUESTION])
    err = capsys.readouterr().err
    assert "trained on vega3d's rooms only" in err
    assert "--model Qwen/Qwen2.5-VL-3B-Instruct --backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers" in err


def test_pico_does_not_warn_about_a_rooms_video(room: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ask", room, QUESTION])
    assert "rooms only" not in capsys.readouterr().err


def test_quiet_leaves_standard_error_empty(room: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ask", room, QUESTION, "--quiet"])
    assert "[vega3d]" not in capsys.readouterr().err


def test_look_writes_its_pictures_and_prints_their_paths(
    room: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["look", room, "-o", str(tmp_path), "--frames", "4"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert paths[0] == tmp_path / "look.png"
    assert all(path.stat().st_size > 0 for path in paths)


def test_look_with_a_question_answers_it_too(
    room: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["look", room, QUESTION, "-o", str(tmp_path), "--frames", "4"])
    assert not capsys.readouterr().out.startswith(str(tmp_path))


def test_rooms_make_writes_videos_and_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rooms", "make", "--out", str(tmp_path), "--scenes", "1", "--size", "64"]) == 0
    *videos, questions = capsys.readouterr().out.splitlines()
    assert len(videos) == 1
    assert all("ground_truth" in json.loads(line) for line in Path(questions).read_text().splitlines())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["ask", "no/such.mp4", QUESTION], "no/such.mp4"),
        (["look", "no/such.mp4"], "no/such.mp4"),
        (["rooms", "make", "--seed", "-1", "--out", "{tmp}"], "seed -1"),
        (["prompt-embedding", "no/such/folder"], "no/such/folder"),
        (["ask", "{room}", QUESTION, "--model", "no/such/model"], "--backbone"),
        (["ask", "{room}", QUESTION, "--model", "no/such/model", "--backbone", "pico"], "no/such/model"),
        (["ask", "{room}", QUESTION, "--backbone", "no/such/wan"], "no/such/wan"),
    ],
)
def test_a_problem_ends_with_code_1_and_a_message_of_one_screen(
    arguments: list[str], named: str, room: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [part.format(tmp=tmp_path, room=room) for part in arguments]
    assert main(filled) == 1
    err = capsys.readouterr().err
    assert named in err
    assert "fix:" in err
    assert len(err.splitlines()) <= 24


@pytest.mark.parametrize("arguments", [[], ["ask"], ["ask", "a.mp4", "q", "--modle", "x"], ["rooms"]])
def test_wrong_usage_ends_with_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("command", ["ask", "look", "rooms", "prompt-embedding"])
def test_the_help_of_a_command_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [command, "make", "--help"] if command == "rooms" else [command, "--help"]
    with pytest.raises(SystemExit):
        build_parser().parse_args(arguments)
    assert "example: vega3d" in capsys.readouterr().out


def test_help_needs_no_torch() -> None:
    code = "import sys, vega3d.cli.main as m; m.build_parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_interrupt_ends_with_code_130(monkeypatch: pytest.MonkeyPatch, room: str) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vega3d.cli.ask.load_model", interrupted)
    assert main(["ask", room, QUESTION]) == 130


def test_ask_takes_a_checkpoint_and_finds_its_host_and_backbone(
    room: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    vega3d.load("pico").adapter.save_pretrained(tmp_path / "mine")
    assert main(["ask", room, QUESTION, "--json", "--frames", "4", "--model", str(tmp_path / "mine")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["trained_fusion"] is True
    assert record["notes"] == []
