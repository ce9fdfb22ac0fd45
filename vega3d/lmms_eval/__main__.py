"""``python -m vega3d.lmms_eval``: the folder of our tasks; with arguments, lmms-eval itself.

Where torchvision loads, ``lmms_eval`` is started by its own name and needs nothing of this. Beside a CPU-only
torch, PyPI's torchvision does not load (see `vega3d._utils.torchvision`), and lmms-eval stops at its first
import. Started through here it finds the missing operators defined. Nothing else about it is changed.
"""

from __future__ import annotations

import runpy
import sys

import vega3d._utils.torchvision  # noqa: F401  (before the first import of transformers)
from vega3d.lmms_eval import TASKS

if len(sys.argv) == 1:
    print(TASKS)
else:
    runpy.run_module("lmms_eval", run_name="__main__", alter_sys=True)
