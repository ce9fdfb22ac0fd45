"""Scores of predictions on the benchmarks of 3-D scene understanding, each by the name of its protocol.

Decision: the same outputs score differently under different published rules (EM of 48.6 or 56.8, CIDEr with
or without a tokenizer). So every set of rules is a *protocol* with a name of its own, held to numbers of the
official code, and no two protocols share a column. Model output is read and never run.
"""

from __future__ import annotations

from vega3d._utils.moved import names
from vega3d.evaluation.benchmark import Benchmark, Metric, Protocol, Sample, Scores
from vega3d.evaluation.benchmarks import load_benchmark, load_protocol, protocol_names
from vega3d.evaluation.scoring import score, score_file

__all__ = [
    "Benchmark",
    "Metric",
    "Protocol",
    "Sample",
    "Scores",
    "load_benchmark",
    "load_protocol",
    "protocol_names",
    "score",
    "score_file",
]

__getattr__ = names(
    __name__,
    {
        "Task": "vega3d.evaluation.legacy:Task",
        "load_task": "vega3d.evaluation.benchmarks:load_protocol",
        "task_names": "vega3d.evaluation.benchmarks:protocol_names",
    },
)
