"""Importing is cheap, public names exist, and the core stays small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import vega3d

ROOT = Path(__file__).parents[2] / "vega3d"
# From a video to fused tokens. Not on that way: settings, files, cost estimates, what the Trainer asks for.
WAY_IN = ("video", "decoding", "image", "clips", "messages", "arguments", "host_media", "processing")
CORE = (*WAY_IN, "backbones", "hosts", "grid", "fusion", "encoding", "adapter")
ASIDE = {"weights.py", "prompt.py", "flops.py"}


def test_importing_vega3d_loads_no_torch_transformers_or_diffusers() -> None:
    code = (
        "import sys, vega3d; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'diffusers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_resolves() -> None:
    assert all(getattr(vega3d, name) is not None for name in vega3d.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(vega3d, "Vega4D")


def test_the_core_from_video_to_fused_tokens_stays_under_2500_lines_of_code() -> None:
    files = [path for unit in CORE for path in [ROOT / f"{unit}.py", *(ROOT / unit).rglob("*.py")]]
    assert sum(code_lines(path) for path in files if path.is_file() and path.name not in ASIDE) < 2500


def code_lines(path: Path) -> int:
    """Lines that are neither blank, nor comments, nor docstrings."""
    source = path.read_text(encoding="utf-8")
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        holders = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, holders) and ast.get_docstring(node):
            text = node.body[0]
            documented |= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    lines = enumerate(source.splitlines(), start=1)
    return sum(
        1 for n, line in lines if line.strip() and not line.strip().startswith("#") and n not in documented
    )
