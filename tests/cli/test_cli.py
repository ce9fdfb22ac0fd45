"""The command line as a user meets it: answers, exit codes, help, errors of one screen."""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vega3d
from tests.media import photo
from vega3d._utils import hub
from vega3d.cli.main import build_parser, main
from vega3d.pico import pico_path
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
        (["ask", "{room}", QUESTION, "--model", "no/such/model"], "no/such/model"),
        (["ask", "{room}", QUESTION, "--model", str(pico_path("host"))], "--backbone"),
        (["ask", "{room}", QUESTION, "--model", "somebody/unknown"], "somebody/unknown"),
        (["ask", "{room}", QUESTION, "--frames", "30"], "--frames 8"),
        (["ask", "{tmp}/*.mp4", QUESTION], "*.mp4"),
        (["chat", "{room}", "--backbone", "no/such/wan"], "no/such/wan"),
        (["estimate", "3b", "--host", "7b"], "drop --host"),
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


@pytest.mark.parametrize("arguments", [["ask"], ["ask", "a.mp4", "q", "--modle", "x"], ["rooms"]])
def test_wrong_usage_ends_with_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "vega3d ask" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["ask", "chat", "look", "rooms", "prompt-embedding"])
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


def test_a_checkpoint_trained_on_pico_still_says_that_it_only_knows_rooms(
    other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vega3d.load("pico").adapter.save_pretrained(tmp_path / "mine")
    main(["ask", other, QUESTION, "--frames", "2", "--model", str(tmp_path / "mine")])
    assert "trained on vega3d's rooms only" in capsys.readouterr().err


def test_ask_takes_photos_patterns_and_a_home_folder(
    room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clips").mkdir()
    for name in ("b.mp4", "a.mp4"):
        shutil.copy(room, tmp_path / "clips" / name)
    photo(80, 60).save(tmp_path / "photo.jpg")
    assert main(["ask", "~/clips/*.mp4", "~/photo.jpg", QUESTION, "--frames", "1", "--json", "--quiet"]) == 0
    records = json.loads(capsys.readouterr().out)
    names = [str(tmp_path / name) for name in ("clips/a.mp4", "clips/b.mp4", "photo.jpg")]
    assert [(record["video"], record["frames"]) for record in records] == [(name, 1) for name in names]


def test_answers_about_several_clips_are_printed_with_their_names(
    room: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["ask", room, room, QUESTION, "--frames", "2", "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{room}: ") for line in lines)


def test_chat_answers_each_line_and_starts_again(
    room: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "stdin", io.StringIO(f"{QUESTION}\nAnd a lamp?\n/new\n{QUESTION}\nquit\n{QUESTION}\n")
    )
    assert main(["chat", room, "--frames", "2", "--quiet", "--max-new-tokens", "4"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    assert lines[0] == lines[2]


def test_a_gpu_that_is_not_there_is_an_error(
    room: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["ask", room, QUESTION, "--device", "cuda"]) == 1
    assert "torch finds no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["ask", "look", "chat"])
def test_offline_an_unknown_model_is_refused_without_asking_the_hub(
    command: str, room: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://hub.invalid")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("vega3d.cli.ask.load_model", lambda arguments: pytest.fail("loaded"))
    question = [] if command == "chat" else [QUESTION]
    assert main([command, room, *question, "--model", "somebody/unknown"]) == 1
    assert "the hub cannot be reached" in capsys.readouterr().err


def test_estimate_takes_the_host_as_its_first_word(capsys: pytest.CaptureFixture[str]) -> None:
    main(["estimate", "3b", "--frames", "2", "--json"])
    by_position = capsys.readouterr().out
    main(["estimate", "--host", "3b", "--frames", "2", "--json"])
    assert capsys.readouterr().out == by_position


# flags of other programs that a message may name
OTHERS = {"--no-deps", "--force-reinstall", "--nproc-per-node", "--tasks", "--gen", "--include", "--force"}


def flags(parser: argparse.ArgumentParser) -> set[str]:
    names = {name for action in parser._actions for name in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            names = names.union(*map(flags, action.choices.values()))
    return names


def test_messages_name_flags_that_exist() -> None:
    known = flags(build_parser()) | OTHERS
    unknown = {}
    for path in Path(vega3d.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", node.value):
                    if flag not in known:
                        unknown[flag] = path.name
    assert unknown == {}
