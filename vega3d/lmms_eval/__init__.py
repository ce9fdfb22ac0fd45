"""vega3d inside lmms-eval: a model by entry point, and the five 3-D benchmarks that lmms-eval lacks.

Decision: lmms-eval is never a dependency. It finds us by the entry-point group ``lmms_eval.models`` and only
then is anything here imported; no other module of vega3d imports this package. Questions are put to the model
by the code of `vega3d eval run`, and the tasks score with `vega3d.evaluation`: one way to ask, one scorer.

``python -m vega3d.lmms_eval`` prints the folder of tasks, for ``--include_path``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

TASKS = Path(__file__).parent / "tasks"


def manifest() -> Any:
    """The manifest that lmms-eval 0.7 registers: one model, for its chat and its simple form of questions."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="vega3d",
        simple_class_path="vega3d.lmms_eval.model.Vega3DSimple",
        chat_class_path="vega3d.lmms_eval.model.Vega3DChat",
    )
