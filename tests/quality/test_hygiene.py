"""Habits that a reader of this library can rely on in every file."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("vega3d", "train", "eval", "examples", "experiments")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
OURS = [path for path in SOURCES if path.is_relative_to(ROOT / "vega3d")]
UNSAFE = {
    "pickle": r"\bimport pickle\b|\bpickle\.load",
    "torch.load without weights_only": r"torch\.load\((?![^)]*weights_only=True)",
    "trust_remote_code": r"trust_remote_code\s*=\s*True",
    "eval or exec": r"(?<![\w.])(eval|exec)\(",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("habit", UNSAFE)
def test_no_file_runs_what_it_reads(habit: str) -> None:
    found = [name(path) for path in SOURCES if re.search(UNSAFE[habit], path.read_text(encoding="utf-8"))]
    assert not found


@pytest.mark.parametrize("path", OURS, ids=name)
def test_a_file_has_at_most_500_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("path", OURS, ids=name)
def test_a_module_opens_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", OURS, ids=name)
def test_every_argument_is_typed(path: Path) -> None:
    bare = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare += [
                f"{node.name}({a.arg})"
                for a in given
                if a.annotation is None and a.arg not in ("self", "cls")
            ]
    assert not bare


def test_no_file_names_a_path_of_somebodys_home() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    texts = [
        ROOT / file
        for file in tracked
        if Path(file).suffix in (".py", ".md", ".toml", ".yaml", ".json", ".sh")
    ]
    found = [
        name(p)
        for p in texts
        if p.exists() and re.search(r"/(home|Users)/\w+/", p.read_text(encoding="utf-8"))
    ]
    assert not found


def test_no_tracked_file_is_larger_than_4_mib() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    sizes = {file: (ROOT / file).stat().st_size for file in tracked if (ROOT / file).exists()}
    assert not {file: size for file, size in sizes.items() if size > 4 * 2**20}
