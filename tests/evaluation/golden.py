"""The files of predictions that the published code has scored, and which task each of them belongs to.

Each file says in ``produced_by`` which code made its ``expected`` values.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from vega3d import registry
from vega3d.evaluation import load_benchmark

BENCHMARKS = [load_benchmark(name) for name in registry.BUILT_IN["benchmarks"]]
PROTOCOLS = sorted(protocol.name for benchmark in BENCHMARKS for protocol in benchmark.protocols)
RUNNABLE = [benchmark.name for benchmark in BENCHMARKS if benchmark.read is not None]
ONLY_SCORED = sorted(p.name for benchmark in BENCHMARKS for p in benchmark.protocols if p.score_only)
FOLDER = Path(__file__).parents[1] / "goldens" / "metrics"

# file: task, tolerance on numbers
FILES: dict[str, tuple[str, float]] = {
    "blink_spatial": ("blink_spatial", 0.0),
    "box3d_iou": ("box3d_iou", 1e-6),
    "cvbench": ("cvbench", 0.0),
    "multi3drefer": ("multi3drefer/vega", 1e-6),
    "multi3drefer__official": ("multi3drefer/official", 1e-6),
    "scan2cap": ("scan2cap/vega", 1e-6),
    "scan2cap__leo": ("scan2cap/leo", 1e-6),
    "scan2cap__official": ("scan2cap/official", 1e-6),
    "scanqa": ("scanqa/vega", 1e-6),
    "scanqa__leo": ("scanqa/leo", 1e-6),
    "scanqa__official": ("scanqa/official", 1e-6),
    "scanrefer": ("scanrefer/proposal", 1e-9),
    "scanrefer__textbox": ("scanrefer/textbox", 1e-6),
    "scanrefer__unique_multiple": ("scanrefer/unique-multiple", 0.0),
    "sqa3d": ("sqa3d", 1e-9),
    "threedod": ("threedod", 1e-9),
    "vsibench": ("vsibench", 1e-9),
    "vsibench__lmms_eval_0_7_3": ("vsibench/lmms-eval", 1e-9),
}
EXACT = 1e-12  # "exact" for a mean: the order of a sum may move its last digit

# What the files hold besides scores: outputs of the wrong IoU kernel (for information) and rendered prompts.
NOT_SCORES = {
    "aggregate_percent_reference_pytorch3d",
    "cate31_f1_reference_pytorch3d",
    "counts_reference_pytorch3d",
    "iou_pytorch3d_float32",
    "prompt_text",
    "prompt_text_sample0",
    "pytorch3d_error",
    "reference_pytorch3d",
}
TASK_TO_FILE = {task: file for file, (task, _) in FILES.items()}


def path(file: str) -> Path:
    return FOLDER / f"{file}.json"


@cache
def document(file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path(file).read_text(encoding="utf-8"))
    return found
