"""The whole chain at toy length, killed in the middle and taken up again by the same command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = (
    "arms=[host, host_twice, video_frame, shuffled, image_frame, depth, oracle]",
    "rooms.train=2",
    "rooms.held_out=2",
    "rooms.shifted=0",
    "probes.train=2",
    "probes.sweep_rooms=0",
    "rooms.side=64",
    "rooms.frames=16",
    "encoders.clips=2",
    "encoders.steps=1",
    "tuning.steps=3",
    "tuning.save=1",
    "nframes=4",
    "ames=0",
)
pytestmark = pytest.mark.timeout(1800)  # two processes, one after the other, on whatever core is left
KILLED_AT = "[tuning/video_frame/0] begins"


def started(out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments.miniature", "run", "quick", *SMALL, "--out", str(out)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str], Path]:
    """Output of the killed run, output of the one after it, and their folder."""
    out = tmp_path_factory.mktemp("miniature")
    first, before = started(out), []
    assert first.stdout is not None
    for line in first.stdout:
        before.append(line.strip())
        if KILLED_AT in line:
            first.send_signal(signal.SIGKILL)
    first.wait()
    second = started(out)
    after = second.communicate()[0].splitlines()
    assert second.returncode == 0, "\n".join(after[-30:])
    return before, after, out


def test_the_first_run_was_killed_in_the_middle_of_its_tuning(
    runs: tuple[list[str], list[str], Path],
) -> None:
    assert any(KILLED_AT in line for line in runs[0])
    assert not any("[tuning/video_frame/0] done" in line for line in runs[0])


def test_what_was_done_is_not_done_again(runs: tuple[list[str], list[str], Path]) -> None:
    before, after, _ = runs
    done = {line.split("]")[0] for line in before if "] done" in line}
    assert any("rooms" in stage for stage in done)
    assert not done & {line.split("]")[0] for line in after if "] begins" in line}


def test_the_run_ends_with_scores_of_every_arm(runs: tuple[list[str], list[str], Path]) -> None:
    found = json.loads((runs[2] / "results.json").read_text())
    asked = len(found["questions"]["rooms"])
    assert asked > 0
    assert {arm: len(own["0"]) for arm, own in found["scores"]["rooms"].items()} == dict.fromkeys(
        ("host", "host_twice", "video_frame", "shuffled", "image_frame", "depth", "oracle"), asked
    )
    assert found["errors"] == 0
    assert not any(found["failed"].values())


def test_arms_see_the_same_number_of_new_parameters_and_the_host_none(
    runs: tuple[list[str], list[str], Path],
) -> None:
    cost = json.loads((runs[2] / "results.json").read_text())["cost"]
    new = {arm: own["new_parameters"] for arm, own in cost.items()}
    assert new.pop("host") == 0
    assert max(new.values()) - min(new.values()) < 0.01 * max(new.values())


def test_the_host_alone_hears_nothing(runs: tuple[list[str], list[str], Path]) -> None:
    watch = json.loads((runs[2] / "results.json").read_text())["watch"]
    assert watch["host"]["fusion/contribution"] == 0.0
    assert watch["video_frame"]["fusion/contribution"] > 0.0
