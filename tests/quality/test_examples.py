"""Every example is short and runs as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SCRIPTS = sorted(path for folder in ("examples", "train", "eval") for path in (ROOT / folder).glob("*.sh"))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_less_than_40_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ)
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip()


def test_what_the_shell_scripts_import_is_there() -> None:
    lines = [line.strip() for path in SCRIPTS for line in path.read_text(encoding="utf-8").splitlines()]
    imports = [line for line in lines if line.startswith(("from vega3d", "import vega3d"))]
    assert imports
    code = "import warnings; warnings.simplefilter('error', DeprecationWarning)"
    done = subprocess.run([sys.executable, "-c", "\n".join([*imports, code, *imports])], capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.full
def test_the_demo_runs(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", str(ROOT / "examples" / "demo.sh"), str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "the truth is" in done.stdout


@pytest.mark.full
def test_the_benchmark_times_every_step() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "steps.py"), "--frames", "2", "--repeats", "1"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count(" median ") == 5
