"""vega3d installs beside its neighbours, and what was tested is pinned."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LINES = (PROJECT["dependencies"], *EXTRAS.values())
DIRECT = [Requirement(line) for lines in LINES for line in lines]
OTHERS = [requirement for requirement in DIRECT if requirement.name != "vega3d"]  # not our own extras
# Upper bounds that the newest release of a neighbour declares (its metadata on PyPI, November 2026).
NEIGHBOURS = {
    "gradio 6.31.0": ("pillow<13.0", "numpy<3.0", "huggingface-hub<3.0", "jinja2<4.0", "pyyaml<7.0"),
    "lmms-eval 0.7.3": ("av<16.0.0",),
    "datasets 5.2.0": ("huggingface-hub<3.0",),
    "transformers 5.24.0": ("huggingface-hub<3.0",),
}


def floor_of(requirement: Requirement) -> Version:
    """The lowest version that a requirement admits."""
    (clause,) = requirement.specifier
    assert clause.operator in (">=", "=="), requirement
    return Version(clause.version)


def pins() -> dict[str, Version]:
    """The versions of the constraints file."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pairs}


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_no_floor_is_above_what_a_neighbour_allows(neighbour: str) -> None:
    floors = {canonicalize_name(requirement.name): floor_of(requirement) for requirement in OTHERS}
    for line in NEIGHBOURS[neighbour]:
        bound = Requirement(line)
        assert SpecifierSet(str(bound.specifier)).contains(floors[canonicalize_name(bound.name)]), line


@pytest.mark.parametrize("requirement", OTHERS, ids=str)
def test_every_dependency_is_pinned_at_or_above_its_floor(requirement: Requirement) -> None:
    optional = {"bitsandbytes", "mkdocs", "mkdocstrings"}  # not part of the environment of the tests
    if requirement.name not in optional:
        assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_a_dependency_has_one_floor_in_all_extras() -> None:
    floors: dict[str, set[str]] = {}
    for requirement in OTHERS:
        floors.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert {name: sorted(found) for name, found in floors.items() if len(found) > 1} == {}
