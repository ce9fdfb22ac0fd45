"""A user's own videos: `vega3d init`, and the page and the notebook followed to the letter."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from vega3d.cli.main import main
from vega3d.data import messages_of, read_rows
from vega3d.training.config import load_config
from vega3d.training.validation import validate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
NOTEBOOK = json.loads((ROOT / "examples" / "own_videos.ipynb").read_text(encoding="utf-8"))
UNKNOWN = {"clip": "kitchen.mp4", "q": "How many desks?", "a": "5"}


def blocks(kind: str) -> list[str]:
    """The blocks of the page of one kind."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the page describes it, with empty files in place of the videos."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my" / "videos").mkdir(parents=True)
    for name in ("kitchen.mp4", "office.mp4"):
        (tmp_path / "my" / "videos" / name).touch()
    (tmp_path / "qa.json").write_text(blocks("json")[0])
    return tmp_path


# ---------------------------------------------------------------- the page and the notebook


def test_the_four_commands_of_the_page_print_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(blocks("python")[0], {})
    (tmp_path / "qa.json").write_text(blocks("json")[0])
    commands = [block.splitlines() for block in blocks("console")]
    assert [lines[0].split()[2] for lines in commands] == ["init", "validate", "train", "ask"]
    for command, *expected in commands:
        assert main(shlex.split(command)[2:]) == 0
        out, err = capsys.readouterr()
        if " ask " in command:  # the answer itself depends on the machine
            assert len(out.splitlines()) == len(expected) == 1
        else:
            assert [line for line in expected if line not in (out + err).splitlines()] == []
    assert (tmp_path / "run.yaml").read_text() == blocks("yaml")[0]


def test_the_notebook_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for cell in NOTEBOOK["cells"]:
        source = "".join(cell["source"])
        if source.startswith("!vega3d "):
            assert main(shlex.split(source)[1:]) == 0, source
        elif cell["cell_type"] == "code":
            exec(source, namespace)
    assert "step 3: 'How many desks are there?'" in capsys.readouterr().err
    assert namespace["answer"].text  # type: ignore[attr-defined]


def test_the_notebook_holds_no_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert not [cell for cell in NOTEBOOK["cells"] if cell.get("outputs")]


def test_the_page_shows_both_forms_of_rows_in_eight_lines_each() -> None:
    assert [len(block.splitlines()) for block in blocks("json")] == [8, 8]


def test_both_forms_of_rows_become_the_same_conversation() -> None:
    question, llava = (json.loads(block)[0] for block in blocks("json"))
    assert messages_of(question, Path("/data")) == messages_of(llava, Path("/data"))


# ---------------------------------------------------------------- vega3d init


def test_init_writes_the_yaml_that_the_page_shows(folder: Path) -> None:
    assert main(["init", "my/videos", "qa.json"]) == 0
    assert (folder / "run.yaml").read_text() == blocks("yaml")[0]


def test_init_prints_the_name_of_the_file_and_the_next_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "my/videos", "qa.json", "--out", "my run.yaml"]) == 0
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1]) == ("my run.yaml\n", "[vega3d] next: vega3d validate 'my run.yaml'")


def test_init_writes_settings_for_a_real_model(folder: Path) -> None:
    assert main(["init", "my/videos", "qa.json", "--model", "Qwen/Qwen2.5-VL-3B-Instruct"]) == 0
    config = load_config("run.yaml")
    assert config.model.host == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert config.model.backbone["path"] == "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    assert config.trainer["bf16"] is True


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([UNKNOWN], "keys clip, q, a"),
        ([{"video": "kitchen.mp4", "q": "How many?"}], "keys video, q"),
        ([{"video": "garden.mp4", "question": "?", "answer": "x"}], "1 of 1 files do not exist"),
        ([], "Missing rows"),
    ],
)
def test_init_refuses_rows_that_cannot_be_trained_on(
    rows: list[object], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "qa.json").write_text(json.dumps(rows))
    assert main(["init", "my/videos", "qa.json"]) == 1
    assert words in capsys.readouterr().err
    assert not (folder / "run.yaml").exists()


def test_init_does_not_overwrite_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "run.yaml").write_text("mine")
    assert main(["init", "my/videos", "qa.json"]) == 1
    assert "--out" in capsys.readouterr().err
    assert (folder / "run.yaml").read_text() == "mine"


# ---------------------------------------------------------------- unknown keys


def test_validate_shows_the_expected_row_and_the_keys_that_it_found(folder: Path) -> None:
    (folder / "clips.json").write_text(json.dumps([UNKNOWN]))
    main(["init", "my/videos", "qa.json"])
    report = validate("run.yaml", ["data.0.file=clips.json"])
    finding = report.findings[0]
    shown = f"[{finding.kind}] {finding.where}: {finding.error}"
    (expected,) = (block for block in blocks("text") if "clips.json" in block)
    assert shown.startswith(expected.rstrip())


def test_a_row_of_media_alone_is_read_for_a_cache_and_refused_for_training(folder: Path) -> None:
    (folder / "media.json").write_text(json.dumps([{"video": "kitchen.mp4", "question": "How many desks?"}]))
    (row,) = read_rows(folder / "media.json", folder / "my" / "videos")
    assert [entry["type"] for entry in row.messages[0]["content"]] == ["video"]
    main(["init", "my/videos", "qa.json"])
    findings = validate("run.yaml", ["data.0.file=media.json"]).findings
    assert "keys video, question" in str(findings[0].error)


def test_the_yaml_of_the_page_is_plain_settings() -> None:
    assert yaml.safe_load(blocks("yaml")[0])["data"] == [{"file": "qa.json", "root": "my/videos"}]
