"""Prints where the tasks lie: ``lmms_eval --include_path "$(python -m vega3d.lmms_eval)"``."""

from __future__ import annotations

from vega3d.lmms_eval import TASKS

print(TASKS)
