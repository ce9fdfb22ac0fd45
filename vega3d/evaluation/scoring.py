"""From a file of predictions to a file of scores, with the protocol named in it.

A file is JSON with a list ``samples`` (or a list alone), or JSON Lines with one sample a line. Records may be
imperfect: each problem is counted in the output. A file in which *nobody* has a field that the protocol reads
is the wrong file, and refused.

This module knows no benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vega3d._version import __version__
from vega3d.errors import InputError
from vega3d.evaluation.records import problems
from vega3d.evaluation.task import Task
from vega3d.evaluation.tasks import load_task
from vega3d.files import write_whole, writing


def score(task: str | Task, samples: Sequence[object], **file_fields: Any) -> dict[str, Any]:
    """Score predictions.

    Args:
        task: a task or its name, such as ``"scanqa/leo"``.
        samples: JSON objects with the fields that the task reads; others are left alone. Whatever they hold,
            nothing is raised: what cannot be used scores 0 and is counted under ``problems``.
        file_fields: what the task reads beside the samples (only ``scanrefer/unique-multiple`` does).

    Returns:
        JSON-ready: ``task``, ``task_version``, ``protocol``, ``n``, ``problems``, ``unavailable``,
        ``per_sample`` (in the order given) and the aggregates of the task; null is "nothing to say".

    Raises:
        ConfigError: no task has that name.
    """
    chosen = load_task(task) if isinstance(task, str) else task
    scores = chosen.score(samples, **{k: v for k, v in file_fields.items() if k in chosen.file_fields})
    return {
        "task": chosen.name,
        "task_version": chosen.version,
        "protocol": chosen.protocol,
        "sources": list(chosen.sources),
        "vega3d": __version__,
        "n": len(samples),
        "problems": problems(samples, chosen.fields),
        "unavailable": scores.unavailable,
        "per_sample": scores.per_sample,
        **scores.aggregates,
    }


def score_file(task: str | Task, file: str | Path) -> dict[str, Any]:
    """`score` for a file of predictions.

    Raises:
        ConfigError: no task has that name.
        InputError: the file cannot be read, or it is not of this task.
    """
    chosen = load_task(task) if isinstance(task, str) else task
    document = read_document(Path(file))
    samples = document["samples"]
    _refuse_wrong_file(chosen, samples, Path(file))
    return score(chosen, samples, **{name: document.get(name) for name in chosen.file_fields})


def write_scores(result: Mapping[str, Any], file: str | Path) -> Path:
    """Write scores as strict JSON, whole or not at all.

    Raises:
        WriteError: the file cannot be written there.
    """
    target = Path(file)
    content = json.dumps(result, indent=1, allow_nan=False) + "\n"
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        return write_whole(target, lambda part: part.write_text(content, encoding="utf-8"))


def read_document(file: Path) -> dict[str, Any]:
    """The contents of a file of predictions; ``samples`` is a list.

    Raises:
        InputError: the file is missing, or is neither JSON with samples nor JSON Lines.
    """
    try:
        content = file.read_text(encoding="utf-8-sig")  # some editors put a mark in front
        return _parsed(content)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{file} cannot be read as predictions.",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            expected='JSON {"samples": [...]}, a JSON list, or JSON Lines with one sample a line',
            fix="check the path and the format",
        ) from None


def _parsed(content: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except json.JSONDecodeError:
        return {"samples": [json.loads(line) for line in content.split("\n") if line.strip()]}
    if isinstance(document, list):
        return {"samples": document}
    if isinstance(document, dict) and isinstance(document.get("samples"), list):
        return document
    if isinstance(document, dict):  # JSON Lines of a single sample
        return {"samples": [document]}
    raise ValueError(f"a {type(document).__name__} at the top")


def _refuse_wrong_file(task: Task, samples: Sequence[object], file: Path) -> None:
    found = problems(samples, task.fields)
    absent = [f for f in task.fields if samples and found.get(f"{f.name}: missing", 0) == len(samples)]
    if absent:
        seen = sorted({str(name) for sample in samples[:100] if isinstance(sample, dict) for name in sample})
        raise InputError(
            f"{file} holds no predictions for {task.name}: no sample has {absent[0].name!r}.",
            got="fields " + (", ".join(seen[:20]) or "of no kind"),
            expected=", ".join(f"{f.name} ({f.meaning})" for f in task.fields),
            fix="check the task's name with `vega3d eval list`, or rename the fields",
        )
