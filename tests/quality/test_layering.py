"""The house has floors: imports go downwards only, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "vega3d"

# Highest floor first. A unit may import any lower floor; within a floor only itself.
FLOORS: list[set[str]] = [
    {"cli", "app", "lmms_eval"},
    {"training", "evaluation", "analysis"},
    {"costs"},
    {"cache"},
    {"data", "pipeline", "doctor"},
    {"processing", "adapter"},
    # what processing and adapter are made of, in their own order of use
    {"pretrained", "fusion"},
    {"inputs"},
    {"hosts", "backbones", "store", "rooms", "checkpoint"},
    # what a checkpoint is made of
    {"model_card"},
    {"settings_file"},
    {"checksums", "lora", "host_digest"},
    # files -> frames
    {"media"},
    {"geometry", "grid"},
    {"config"},
    {"settings"},
    {"registry"},
    {"hub", "pico"},
    {"_utils"},
    {"errors", "_version"},
]
FLOOR = {unit: number for number, floor in enumerate(FLOORS) for unit in floor}
# A registry loads what it names, a config asks it which class a name means: both inside functions.
LAZY = {("config", "registry"), ("registry", "config"), ("pretrained", "pipeline")}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def unit_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all imports of a file that run, wherever they stand."""
    package = ["vega3d", *path.relative_to(ROOT).parts[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def own_units(path: Path) -> set[str]:
    found = {name.split(".")[1] for name in imports(path) if name.startswith("vega3d.")}
    return {name for name in found if name in FLOOR}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards_only(path: Path) -> None:
    unit = unit_of(path)
    assert unit in FLOOR, f"{unit} has no floor: add it to FLOORS"
    upwards = {
        other
        for other in own_units(path)
        if other != unit and FLOOR[other] <= FLOOR[unit] and (unit, other) not in LAZY
    }
    assert not upwards, f"{unit} must not import {sorted(upwards)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_backbones_import_diffusers(path: Path) -> None:
    uses = any(name.split(".")[0] == "diffusers" for name in imports(path))
    assert not uses or unit_of(path) == "backbones"


@pytest.mark.parametrize("unit", ["config", "errors", "registry", "_version", "rooms", "geometry", "pico"])
def test_the_ground_floor_and_the_world_know_no_torch(unit: str) -> None:
    heavy = {"torch", "transformers", "diffusers"}
    found = {
        name
        for path in modules()
        if unit_of(path) == unit
        for name in imports(path)
        if name.split(".")[0] in heavy
    }
    assert not found
