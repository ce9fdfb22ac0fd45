"""``vega3d eval score`` and ``vega3d eval list`` as a user calls them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from tests.evaluation.golden import FILES, PROTOCOLS, path
from vega3d.cli import eval as command
from vega3d.cli._command import Commands
from vega3d.errors import InputError
from vega3d.evaluation import score_file


def call(*arguments: str) -> int:
    """Parse and run, as the entry point does."""
    parser = argparse.ArgumentParser()
    command.add_parser(Commands(parser, "command"))
    parsed = parser.parse_args(["eval", *arguments])
    code: int = parsed.run(parsed) or 0
    return code


@pytest.mark.parametrize(
    "file", ["vsibench", "scanrefer__textbox", "multi3drefer__official", "scanrefer__unique_multiple"]
)
def test_a_golden_file_is_accepted_as_it_is(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, _ = FILES[file]
    out = tmp_path / "scores.json"
    assert call("score", task, str(path(file)), "--out", str(out)) == 0
    assert json.loads(out.read_text(encoding="utf-8")) == json.loads(json.dumps(score_file(task, path(file))))
    printed = capsys.readouterr().out.splitlines()
    assert all(line.startswith(task) for line in printed[:-1])
    assert printed[-1] == str(out)


def test_problems_and_unavailable_metrics_are_said_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "answers.jsonl"
    file.write_text('{"prediction": "a chair", "answers": ["a chair"]}\n{"prediction": "no"}\n')
    assert call("score", "scanqa/vega", str(file), "--out", str(tmp_path / "out.json")) == 0
    captured = capsys.readouterr()
    assert "1 of 2 records: answers: missing" in captured.err
    assert "METEOR is unavailable: Java is not installed" in captured.err
    assert any(line.split()[2:4] == ["METEOR", "null"] for line in captured.out.splitlines())


def test_the_wrong_file_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    with pytest.raises(InputError):
        call("score", "threedod", str(path("vsibench")), "--out", str(out))
    assert not out.exists()


def test_the_list_names_every_protocol_with_its_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert set(PROTOCOLS) <= listed


def test_the_list_as_json_has_sources_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "--json") == 0
    tasks = {task["name"]: task for task in json.loads(capsys.readouterr().out)}
    assert tasks["scanqa/leo"]["fields"] == {
        "prediction": "the model's answer",
        "answers": "the answers of people",
    }
    assert all(task["sources"] and task["version"] and task["protocol"] for task in tasks.values())
