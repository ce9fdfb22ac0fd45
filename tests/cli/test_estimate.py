"""``vega3d estimate`` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vega3d.cli.main import main
from vega3d.pico import pico_path


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this command, so that no other one has to be imported."""
    monkeypatch.setattr("vega3d.cli.main.COMMANDS", ("estimate",))


def test_it_prints_a_row_for_every_mode_and_number_of_frames(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--host", "3b", "--frames", "4", "8", "--mode", "all"]) == 0
    out = capsys.readouterr().out
    for mode in ("frame", "window", "joint", "clip"):
        for frames in (4, 8):
            assert [mode, str(frames)] in [line.split()[:2] for line in out.splitlines()]
    assert "vace" not in out


def test_the_json_holds_what_was_asked_and_what_it_costs(capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--wan",
        "vace-1.3b",
        "--mode",
        "vace_reference",
        "--frames",
        "4",
        "--set",
        "noise_samples=2",
        "block=4",
    ]
    assert main(["estimate", "--host", "3b", *options, "--lora-rank", "8", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["setup"]["config"]["block"] == 4
    assert [clip["mode"] for clip in record["clips"]] == ["vace_reference"]
    clip = record["clips"][0]
    parts = [value for name, value in clip["branch"].items() if name != "total"]
    assert clip["branch"]["total"] == pytest.approx(sum(parts))
    assert clip["memory"]["peak"] > clip["memory"]["weights"]
    assert record["parts"][0]["name"] == "language model"


def test_folders_stand_for_models(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--host", str(pico_path("host")), "--wan", str(pico_path("wan")), "--picture-size", "256x256"]
    assert main(["estimate", *options, "--max-pixels", "20000", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["grid"] == [5, 5]


def test_more_draws_and_images_instead_of_a_video_cost_more(capsys: pytest.CaptureFixture[str]) -> None:
    def clip(*options: str) -> dict[str, float]:
        main(["estimate", "--host", "3b", "--frames", "8", "--json", *options])
        found: dict[str, float] = json.loads(capsys.readouterr().out)["clips"][0]
        return found

    plain = clip()
    assert clip("--set", "noise_samples=2")["branch"]["total"] > plain["branch"]["total"]  # type: ignore[index]
    assert clip("--as", "images")["prefill"] > 1.9 * plain["prefill"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--host", "9b"], "9b"),
        (["--wan", "no/such/wan"], "no/such/wan"),
        (["--wan", "no/such/wan", "--mode", "all"], "no/such/wan"),
        (["--set", "blok=3"], "block"),
        (["--picture-size", "640"], "640x480"),
        (["--mode", "vace_reference"], "--wan"),
        (["--fusion", "papr"], "paper"),
    ],
)
def test_a_problem_ends_with_code_1_and_a_way_out(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", "--host", "3b", *options]) == 1
    err = capsys.readouterr().err
    assert named in err
    assert "fix:" in err


def test_the_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["estimate", "--help"])
    assert "example: vega3d estimate" in capsys.readouterr().out


def test_the_command_line_shows_that_a_setting_was_renamed() -> None:
    command = [sys.executable, "-m", "vega3d.cli.main", "estimate", "--host", "3b", "--set", "between=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "between is now extra_frames" in done.stderr
