"""vega3d installs beside its neighbours, and what was tested is pinned."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from vega3d import __version__
from vega3d.training import arguments

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
    # not part of the environment of the tests
    optional = {"bitsandbytes", "mkdocs", "mkdocs-material", "mkdocstrings"}
    if requirement.name not in optional:
        assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_a_dependency_has_one_floor_in_all_extras() -> None:
    floors: dict[str, set[str]] = {}
    for requirement in OTHERS:
        floors.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert {name: sorted(found) for name, found in floors.items() if len(found) > 1} == {}


# ---------------------------------------------------------------- what the index shows


def test_the_package_names_its_authors_its_addresses_and_its_keywords() -> None:
    assert PROJECT["authors"]
    assert {"Homepage", "Documentation", "Repository", "Issues", "Changelog"} <= set(PROJECT["urls"])
    assert all(url.startswith("https://") for url in PROJECT["urls"].values())
    assert len(PROJECT["keywords"]) >= 5


def test_the_classifiers_name_only_what_the_suite_ran_on() -> None:
    pythons = [line for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", line)]
    assert pythons == ["Programming Language :: Python :: 3.11"]
    systems = {line.split(" :: ", 1)[1] for line in PROJECT["classifiers"] if line.startswith("Operating")}
    assert systems == {"MacOS", "POSIX :: Linux"}


def test_the_readme_says_what_was_not_run() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "ran on Linux with Python 3.11. macOS, Windows and other Pythons were not run" in text


def test_every_link_of_the_readme_is_absolute_and_leads_to_a_file_of_ours() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    pages = PROJECT["urls"]["Repository"] + "/blob/main/"
    pictures = pages.replace("github.com", "raw.githubusercontent.com").replace("/blob/", "/")
    for link in links:
        assert link.startswith("https://")
        for base in (pages, pictures):
            if link.startswith(base):
                assert (ROOT / link.removeprefix(base).split("#")[0]).is_file(), link


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2603.19235"


# ---------------------------------------------------------------- extras


def test_deepspeed_is_an_extra_of_its_own() -> None:
    assert not [line for line in EXTRAS["train"] if "deepspeed" in line]
    assert [Requirement(line).name for line in EXTRAS["deepspeed"]] == ["deepspeed"]


def test_all_names_every_extra_for_users() -> None:
    users = set(EXTRAS) - {"all", "docs", "dev"}
    assert {name for line in EXTRAS["all"] for name in Requirement(line).extras} == users


def test_the_installation_page_lists_every_extra_for_users() -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert not [name for name in set(EXTRAS) - {"docs", "dev"} if f"`{name}`" not in page]


def test_a_missing_deepspeed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments.importlib.util, "find_spec", lambda name: None)
    ((name, fault),) = arguments.faults({"deepspeed": "zero2.json"})
    assert name == "deepspeed"
    assert "pip install 'vega3d[deepspeed]'" in str(fault)


def test_check_full_resolves_all_extras_and_runs_the_other_pythons_that_are_here() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(MAKE) exact resolve pythons docs" in makefile
    assert re.search(r"^PYTHONS \?= 3.12 3.13$", makefile, re.MULTILINE)
    assert '--dry-run --ignore-installed ".[all]"' in makefile
