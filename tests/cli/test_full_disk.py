"""A full disk ends a command with one typed error; with room again the same command gives the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.disk import room_for
from vega3d.cli.main import main

SMALL = ["--scenes", "2", "--seed", "3"]
MAKE = ["rooms", "make", *SMALL, "--size", "64", "--frames", "8", "--geometry"]
EXPORTS = {
    "scannet": ["--width", "64", "--height", "48", "--frames", "2", "--split", "val"],
    "ames": ["--width", "64", "--height", "48", "--frames", "2"],
    "pictures": ["--width", "64"],
}
COMMANDS = [
    pytest.param([*MAKE, "--workers", "2"], id="rooms make, two workers"),
    *(
        pytest.param(["rooms", "export", "--layout", name, *SMALL, *options, "--workers", "1"], id=name)
        for name, options in EXPORTS.items()
    ),
]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_one_error_and_the_same_command_goes_on(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with room_for(1000):
        assert main([*command, "--out", str(tmp_path / "full")]) == 1
    errors = capsys.readouterr().err
    assert "Cannot write" in errors
    assert "fix:" in errors
    assert not list(tmp_path.rglob("*.part"))
    for name in ("full", "other"):
        assert main([*command, "--out", str(tmp_path / name)]) == 0
    assert contents(tmp_path / "full") == contents(tmp_path / "other")


@pytest.mark.parametrize(
    "command",
    [
        [*MAKE, "--workers", "1", "--out"],
        *(
            ["rooms", "export", "--layout", name, *SMALL, *options, "--out"]
            for name, options in EXPORTS.items()
        ),
        ["rooms", "show", "--out"],
    ],
    ids=["make", *EXPORTS, "show"],
)
def test_a_folder_that_cannot_be_made_is_a_typed_error(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([*command, str(tmp_path / "file" / "below")]) == 1
    assert "Cannot write" in capsys.readouterr().err


def test_what_a_killed_export_left_is_swept_up(tmp_path: Path) -> None:
    (tmp_path / "rooms").mkdir()
    part = tmp_path / "rooms" / ".room.mp4.1.part"
    part.touch()
    os.utime(part, (0, 0))
    assert main([*MAKE, "--workers", "1", "--out", str(tmp_path)]) == 0
    assert not list(tmp_path.rglob("*.part"))
