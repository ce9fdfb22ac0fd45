"""Benchmarks as they lie on disk; what each task of a benchmark is asked about.

A suite is found by the first part of a task's name: ``scanqa/leo`` asks the questions of ``scanqa``. A
protocol that asks in another way has a suite of its own among the module's ``OTHERS``.
"""

from __future__ import annotations

import importlib

from vega3d.errors import unknown_choice
from vega3d.evaluation.suites.suite import Question, Suite

__all__ = ["SUITES", "Question", "Suite", "load_suite"]

SUITES = ("scanqa", "sqa3d", "vsibench")


def load_suite(task: str) -> Suite:
    """The suite of a task.

    Raises:
        ConfigError: no suite asks its questions; its predictions can only be scored from a file.
    """
    name = task.partition("/")[0]
    if name not in SUITES:
        raise unknown_choice("benchmark to run", name, SUITES)
    module = importlib.import_module(f"vega3d.evaluation.suites.{name}")
    suite: Suite = getattr(module, "OTHERS", {}).get(task, module.SUITE)
    return suite
