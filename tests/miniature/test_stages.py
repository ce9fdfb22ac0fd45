"""A stage runs once for its inputs and goes on after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.miniature.stages import Stages, digest_of_files
from vega3d.errors import ConfigError


def quiet(line: str) -> None:
    del line


class Killed(Exception):
    """Stands for a process that dies."""


def test_a_stage_with_the_same_inputs_is_not_made_again(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        found = Stages(tmp_path, quiet).run("a", {"n": 1}, lambda folder: made.append(1) or {"x": 2})
        assert found["x"] == 2
    assert made == [1]


def test_other_inputs_begin_with_an_empty_folder(tmp_path: Path) -> None:
    def make(folder: Path) -> dict[str, object]:
        found = (folder / "left").exists()
        (folder / "left").touch()
        return {"found": found}

    assert Stages(tmp_path, quiet).run("a", {"n": 1}, make)["found"] is False
    assert Stages(tmp_path, quiet).run("a", {"n": 2}, make)["found"] is False


def test_a_killed_stage_finds_what_it_left(tmp_path: Path) -> None:
    def dies(folder: Path) -> dict[str, object]:
        (folder / "left").touch()
        raise Killed

    with pytest.raises(Killed):
        Stages(tmp_path, quiet).run("a", {"n": 1}, dies)
    found = Stages(tmp_path, quiet).run("a", {"n": 1}, lambda folder: {"found": (folder / "left").exists()})
    assert found["found"] is True


def test_a_changed_result_changes_the_digest_and_time_does_not(tmp_path: Path) -> None:
    one = Stages(tmp_path / "1", quiet).run("a", {"n": 1}, lambda folder: {"x": 1})
    same = Stages(tmp_path / "2", quiet).run("a", {"n": 1}, lambda folder: {"x": 1})
    other = Stages(tmp_path / "3", quiet).run("a", {"n": 1}, lambda folder: {"x": 2})
    assert one["digest"] == same["digest"] != other["digest"]


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="something else"):
        Stages(tmp_path, quiet).run("a", {}, lambda folder: {})
    assert (tmp_path / "a" / "thesis.tex").exists()


def test_new_words_in_a_card_make_no_stage_again_and_new_weights_do(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a model", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    first = digest_of_files(tmp_path)
    (tmp_path / "README.md").write_text("a small model", encoding="utf-8")
    assert digest_of_files(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert digest_of_files(tmp_path) != first
