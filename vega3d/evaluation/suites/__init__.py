"""Benchmarks as they lie on disk; what each task of a benchmark is asked about.

A suite is found by the first part of a task's name: ``scanqa/leo`` asks the questions of ``scanqa``. A
protocol that asks in another way has a suite of its own among the module's ``OTHERS``.
"""

from __future__ import annotations

import importlib

from vega3d.errors import ConfigError, unknown_choice
from vega3d.evaluation.suites.suite import Question, Suite

__all__ = ["SUITES", "Question", "Suite", "load_suite"]

SUITES = (
    "blink_spatial",
    "cvbench",
    "multi3drefer",
    "scan2cap",
    "scanqa",
    "scanrefer",
    "sqa3d",
    "threedod",
    "vsibench",
)
ONLY_SCORED = {
    "multi3drefer/vega": "it needs one score a proposal",
    "scanrefer/proposal": "it needs one score a proposal",
    "scanrefer/unique-multiple": "it labels questions",
}
"""Protocols of these benchmarks that no answer in words can be scored by, and why."""


def load_suite(task: str) -> Suite:
    """The suite of a task.

    Raises:
        ConfigError: nobody asks its questions; its predictions can only be scored from a file.
    """
    name = task.partition("/")[0]
    if task in ONLY_SCORED:
        raise ConfigError(
            f"{task} cannot be asked of a model that writes text.",
            got=ONLY_SCORED[task],
            expected="scanrefer/textbox, scanrefer/textbox-refined or multi3drefer/official",
            fix=f"run one of these; or score a file: vega3d eval score {task} FILE --out OUT",
        )
    if name not in SUITES:
        raise unknown_choice("benchmark to run", name, SUITES)
    module = importlib.import_module(f"vega3d.evaluation.suites.{name}")
    suite: Suite = getattr(module, "OTHERS", {}).get(task, module.SUITE)
    return suite
