"""Importing is cheap, public names exist, and the core stays small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import vega3d

ROOT = Path(__file__).parents[2] / "vega3d"
# From a video to fused tokens. Not on that way: settings, files, stores, and what only estimates need.
WAY_IN = ("video", "decoding", "image", "inputs", "processing")
CORE = (*WAY_IN, "backbones", "hosts", "grid", "fusion", "adapter")
ASIDE = {
    "weights.py",
    "prompt.py",
    "flops.py",
    "shapes.py",
    "cost.py",
    "config.py",
    "keywords.py",
    "forwarding.py",
    "call.py",
}


def test_importing_vega3d_loads_no_torch_transformers_or_diffusers() -> None:
    code = (
        "import sys, vega3d; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'diffusers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_resolves() -> None:
    assert all(getattr(vega3d, name) is not None for name in vega3d.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(vega3d, "Vega4D")


def test_the_core_from_video_to_fused_tokens_stays_under_2720_statements() -> None:
    files = [path for unit in CORE for path in [ROOT / f"{unit}.py", *(ROOT / unit).rglob("*.py")]]
    assert sum(statements(path) for path in files if path.is_file() and path.name not in ASIDE) < 2720


def statements(path: Path) -> int:
    """Logical lines without docstrings: a count that wrapping a long line does not change."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    holders = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    documented = sum(1 for node in ast.walk(tree) if isinstance(node, holders) and ast.get_docstring(node))
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree)) - documented
