"""Every file and every name of docs/where.md exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (?P<ask>[^|]+\?[^|]*) \| `(?P<file>[^`]+)` \| `(?P<name>[^`]+)` \|$", re.MULTILINE)
ROWS = list(ROW.finditer((ROOT / "docs" / "where.md").read_text(encoding="utf-8")))


def names_in(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Functions, classes and variables of a module or class, each with its own body."""
    names: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node.body
        for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
            if isinstance(target, ast.Name):
                names[target.id] = []
    return names


def test_ten_questions_are_answered() -> None:
    assert len(ROWS) == 10


@pytest.mark.parametrize("row", ROWS, ids=[row["ask"] for row in ROWS])
def test_the_file_has_the_name(row: re.Match[str]) -> None:
    body = ast.parse((ROOT / row["file"]).read_text(encoding="utf-8")).body
    for part in row["name"].split("."):
        names = names_in(body)
        assert part in names, f"{row['file']} has no {row['name']}"
        body = names[part]
