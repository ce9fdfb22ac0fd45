"""Every benchmark has a short script, and what a script calls exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.evaluation.golden import RUNNABLE
from vega3d.cli.main import build_parser
from vega3d.evaluation import load_protocol, protocol_names

ROOT = Path(__file__).parents[3]
SCRIPTS = sorted((ROOT / "eval").glob("*.sh"))


def test_every_benchmark_has_a_script() -> None:
    assert {script.stem for script in SCRIPTS} == set(RUNNABLE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_short_and_every_command_in_it_is_one(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 20
    commands = [line.split()[1:] for line in text.splitlines() if line.startswith("vega3d ")]
    assert commands
    for command in commands:
        build_parser().parse_args([re.sub(r'"\$@"', "", word).strip('"') or "--quiet" for word in command])
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_runs_tasks_of_its_own_benchmark(script: Path) -> None:
    asked = re.findall(r"--tasks (\S+)", script.read_text(encoding="utf-8"))
    for name in ",".join(asked).split(","):
        assert name in protocol_names()
        assert load_protocol(name).benchmark.name == script.stem
