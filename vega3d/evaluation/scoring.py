"""From a file of predictions to a file of scores, with the protocol named in it.

A file is JSON with a list ``samples`` (or a list alone), or JSON Lines with one sample a line. Records may be
imperfect: each problem is counted in the output. A file in which *no* record has a field that the protocol
reads is the wrong file, and refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vega3d._utils.files import make_folder, write_whole
from vega3d._version import __version__
from vega3d.errors import InputError
from vega3d.evaluation.benchmark import Protocol, Scores
from vega3d.evaluation.benchmarks import load_protocol
from vega3d.evaluation.files import reading
from vega3d.evaluation.records import problems


def score(task: str | Protocol, samples: Sequence[object], **file_fields: Any) -> dict[str, Any]:
    """Score predictions.

    Args:
        task: a protocol or its name, such as ``"scanqa/leo"``.
        samples: JSON objects with the fields that the protocol reads; others are ignored. Whatever they hold,
            nothing is raised: a sample that cannot be used scores 0 and is counted under ``problems``.
        file_fields: values beside the samples (only ``scanrefer/unique-multiple`` reads some).

    Returns:
        JSON-ready: ``task``, ``task_version``, ``protocol``, ``n``, ``problems``, ``unavailable``,
        ``per_sample`` (in the order given) and the aggregates of the protocol; null if not defined.

    Raises:
        ConfigError: unknown name.
    """
    protocol = load_protocol(task) if isinstance(task, str) else task
    given = {name: value for name, value in file_fields.items() if name in protocol.file_fields}
    return as_record(protocol, samples, protocol.score(samples, **given))


def as_record(protocol: Protocol, samples: Sequence[object], scores: Scores) -> dict[str, Any]:
    """Scores as `score` returns them."""
    return {
        "task": protocol.name,
        "task_version": protocol.version,
        "protocol": protocol.rules,
        "sources": list(protocol.sources),
        "vega3d": __version__,
        "n": len(samples),
        "problems": problems(samples, protocol.fields),
        "unavailable": scores.unavailable,
        "per_sample": scores.per_sample,
        **scores.aggregates,
    }


def score_file(task: str | Protocol, file: str | Path) -> dict[str, Any]:
    """`score` for a file of predictions.

    Raises:
        ConfigError: unknown name.
        InputError: the file cannot be read, or it belongs to another benchmark.
    """
    protocol = load_protocol(task) if isinstance(task, str) else task
    samples, scores = scores_of_file(protocol, Path(file))
    return as_record(protocol, samples, scores)


def scores_of_file(protocol: Protocol, file: Path) -> tuple[list[Any], Scores]:
    """The samples of a file of predictions and their scores.

    Raises:
        InputError: the file cannot be read, or it belongs to another benchmark.
    """
    document = read_document(file)
    samples = document["samples"]
    counts = problems(samples, protocol.fields)
    absent = [f for f in protocol.fields if samples and counts.get(f"{f.name}: missing", 0) == len(samples)]
    if absent:
        names = sorted({str(name) for sample in samples[:100] if isinstance(sample, dict) for name in sample})
        what = f"Missing field in {file}: no sample has {absent[0].name!r}, which {protocol.name} reads."
        got = "fields " + (", ".join(names[:20]) or "of no kind")
        expected = ", ".join(f"{f.name} ({f.meaning})" for f in protocol.fields)
        fix = "check the task's name with `vega3d eval list`, or rename the fields"
        raise InputError(what, got=got, expected=expected, fix=fix)
    return samples, protocol.score(samples, **{name: document.get(name) for name in protocol.file_fields})


def write_scores(result: Mapping[str, Any], file: str | Path) -> Path:
    """Write scores as strict JSON, whole or not at all.

    Raises:
        WriteError: the file cannot be written there.
    """
    target = Path(file)
    content = json.dumps(result, indent=1, allow_nan=False) + "\n"
    make_folder(target.parent)
    return write_whole(target, lambda part: part.write_text(content, encoding="utf-8"))


def read_document(file: Path) -> dict[str, Any]:
    """The contents of a file of predictions; ``samples`` is a list.

    Raises:
        InputError: the file is missing, or is neither JSON with samples nor JSON Lines.
    """
    expected = 'JSON {"samples": [...]}, a JSON list, or JSON Lines with one sample a line'
    with reading(file, what="predictions from ", expected=expected):
        return _parsed(file.read_text(encoding="utf-8-sig"))  # some editors put a mark in front


def _parsed(content: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except json.JSONDecodeError:
        return {"samples": [json.loads(line) for line in content.split("\n") if line.strip()]}
    if isinstance(document, list):
        return {"samples": document}
    if isinstance(document, dict):  # a document, or JSON Lines of a single sample
        return document if isinstance(document.get("samples"), list) else {"samples": [document]}
    raise ValueError(f"a {type(document).__name__} at the top")
