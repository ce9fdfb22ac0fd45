"""Importing is cheap, and public names exist."""

from __future__ import annotations

import subprocess
import sys

import vega3d


def test_importing_vega3d_loads_no_torch_transformers_or_diffusers() -> None:
    code = (
        "import sys, vega3d; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'diffusers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_importing_rooms_loads_neither_torch_nor_a_decoder() -> None:
    code = "import sys, vega3d.rooms; sys.exit(any(m in sys.modules for m in ('torch', 'av')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_resolves() -> None:
    assert all(getattr(vega3d, name) is not None for name in vega3d.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(vega3d, "Vega4D")
