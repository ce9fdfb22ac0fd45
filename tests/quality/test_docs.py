"""Examples of the documentation run: Python blocks are executed, commands are parsed.

A block after ``<!-- not run: reason -->`` is only compiled; the reason has to be given.
"""

from __future__ import annotations

import pkgutil
import re
import shlex
import warnings
from dataclasses import fields
from pathlib import Path

import pytest

from vega3d.backbones.wan.config import WanConfig
from vega3d.cli.main import build_parser
from vega3d.config import FusionConfig, HostConfig, Vega3DConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+?) -->\s*)?```(?P<kind>\w+)\n(?P<code>.*?)```", re.DOTALL
)


def blocks(page: Path, *kinds: str) -> list[re.Match[str]]:
    return [m for m in BLOCK.finditer(page.read_text(encoding="utf-8")) if m["kind"] in kinds]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        code = compile(block["code"], f"{page.name}: {block['code'].splitlines()[0]}", "exec")
        if block["reason"] is None:
            exec(code, namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_understood(page: Path) -> None:
    for block in blocks(page, "bash", "console", "sh"):
        for line in block["code"].replace("\\\n", " ").splitlines():
            if line.strip().startswith("vega3d "):
                build_parser().parse_args(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_targets_of_make_that_a_page_names_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^`?make ([a-z-]+)|`make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE):
        name = "".join(target)
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    names = {f.name for config in (WanConfig, FusionConfig, HostConfig, Vega3DConfig) for f in fields(config)}
    assert not {name for name in names if f"`{name}`" not in text}


def test_every_name_of_the_reference_exists_and_is_not_an_old_one() -> None:
    pages = (ROOT / "docs" / "reference").glob("*.md")
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    entries = re.findall(r"^::: (\S+)\n(?:    options:\n      members: \[(.*)\]\n)?", text, re.MULTILINE)
    assert entries
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for name, members in entries:
            documented = pkgutil.resolve_name(name)
            assert not [member for member in re.findall(r"\w+", members) if not hasattr(documented, member)]
