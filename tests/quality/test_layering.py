"""The house has floors: imports go downwards only, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "vega3d"

# Top first; a line may import every lower line. Within a line, a chain may import what stands after it in the
# same chain: units of one set import nothing of each other.
LINES: list[list[list[set[str]]]] = [
    [[{"cli"}, {"lmms_eval"}]],
    [[{"training"}, {"analysis"}, {"evaluation"}], [{"doctor"}]],
    [[{"pipeline"}], [{"costs"}, {"cache"}, {"data"}]],
    [[{"processing"}], [{"adapter"}, {"pretrained"}]],
    [[{"fusion", "scene3d"}, {"inputs"}]],
    [[{"hosts", "backbones", "store", "rooms", "checkpoint"}]],
    [[{"media"}, {"geometry", "grid"}], [{"config"}, {"settings"}]],
    [[{"pico"}, {"registry"}, {"_utils"}, {"errors", "_version"}]],
]
PLACE = {
    unit: (line, chain, depth)
    for line, chains in enumerate(LINES)
    for chain, sets in enumerate(chains)
    for depth, units in enumerate(sets)
    for unit in units
}
# A registry loads what it names, a config asks it which class a name means: both inside functions. So is the
# import of the one loader in `Vega3DAdapter.from_pretrained`.
LAZY = {("config", "registry"), ("registry", "config"), ("pretrained", "pipeline")}


def may_import(unit: str, other: str) -> bool:
    (line, chain, depth), (other_line, other_chain, other_depth) = PLACE[unit], PLACE[other]
    below = line == other_line and chain == other_chain and depth < other_depth
    return unit == other or line < other_line or below or (unit, other) in LAZY


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
    return {name for name in found if name in PLACE}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards_only(path: Path) -> None:
    unit = unit_of(path)
    assert unit in PLACE, f"{unit} has no place: add it to LINES"
    upwards = {other for other in own_units(path) if not may_import(unit, other)}
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
