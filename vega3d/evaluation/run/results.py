"""From answers to the result of a run, and both on disk.

Decision: a result is a function of the answers and of the settings, and holds no time and no number of
processes: an interrupted run ends in the same file as an uninterrupted one. A question that could not be
asked is an error, not a wrong answer: it is left out of the scores and counted, and the score with errors as
wrong answers stands beside.

The result's own checksum stands in it, and so does the checksum of the samples' bytes, so that a damaged file
is refused, not reported or compared. Files of version 0.1 have none and are read. Both files are made of the
journal alone, so the run's own command writes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from vega3d.errors import ConfigError, InputError
from vega3d.evaluation.benchmark import Protocol, Sample, Scores
from vega3d.evaluation.run.baselines import baselines
from vega3d.evaluation.run.checksums import encoded, unsummed, write_json, write_text
from vega3d.evaluation.run.standard_errors import clustered_error, macro_weights, micro_weights
from vega3d.evaluation.scoring import as_record

RESULT, SAMPLES = "result.json", "samples.jsonl"
SAMPLES_SUM = "samples_xxh3"  # in the result: of the bytes of the samples
NAMES = {"task", "protocol", "headline", "count", "micro", "macro", "kinds", "provenance"}  # of every result
ROW_NAMES = {"id", "kind", "scene", "media", "question", "truth", "output", "score", "error"}
PER_SAMPLE = ("per_sample", "extract_number")  # left to the samples' file
Row = dict[str, Any]


def result_of(
    protocol: Protocol,
    samples: Sequence[Sample],
    answers: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> tuple[Row, list[Row]]:
    """The result of a protocol, JSON-ready, and its scored samples.

    Raises:
        ConfigError: the protocol drops or adds samples, so that scores cannot be matched to answers.
    """
    asked = [sample for sample in samples if sample.id in answers]
    answered = [sample for sample in asked if answers[sample.id].get("error") is None]
    records = _records(protocol, answered, answers)
    scores = _scores(protocol, records)
    by_id = dict(zip([sample.id for sample in answered], scores.per_sample, strict=True))
    rows = [_row(protocol, sample, answers[sample.id], by_id.get(sample.id)) for sample in asked]
    errors = len(asked) - len(answered)
    with_errors = _scores(protocol, _records(protocol, asked, answers)) if errors else scores
    aggregates = as_record(protocol, records, scores)
    measure, official = protocol.sample_score, protocol.official
    result = {
        "task": protocol.name,
        "task_version": protocol.version,
        "protocol": protocol.rules,
        "headline": scores.headline,
        "headline_with_errors_as_wrong": with_errors.headline,
        "count": {
            "answered": len(answered),
            "errors": errors,
            "asked": len(asked),
            "found": len(samples),
            "official": official,
            "complete": len(answered) == official,
        },
        "score": measure if isinstance(measure, str) else measure.__name__,
        **means_of(rows, protocol.benchmark.groups),
        "blind": baselines(protocol, answered),
        "aggregates": {name: aggregates[name] for name in aggregates if name not in PER_SAMPLE},
        "provenance": dict(settings),
    }
    return result, rows


def means_of(rows: Sequence[Mapping[str, Any]], groups: Mapping[str, str]) -> Row:
    """``micro``, ``macro`` and ``kinds``: means with errors over scenes, of the rows that have a score."""
    used = [row for row in rows if row["score"] is not None]
    scores, kinds, scenes = ([row[name] for row in used] for name in ("score", "kind", "scene"))
    by_kind = {}
    for kind in sorted(set(kinds)):
        of_kind = [row for row in used if row["kind"] == kind]
        values, rooms = [row["score"] for row in of_kind], [row["scene"] for row in of_kind]
        by_kind[kind] = _mean(values, micro_weights(values), [""] * len(values), rooms)
    return {
        "micro": _mean(scores, micro_weights(kinds), [""] * len(used), scenes),
        "macro": _mean(scores, macro_weights(kinds, groups), kinds, scenes),
        "kinds": by_kind,
    }


def write_result(folder: Path, result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``samples.jsonl``, then ``result.json`` with the checksums of both.

    Raises:
        WriteError: the folder cannot be written.
    """
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(folder / SAMPLES, lines)
    write_json(folder / RESULT, {**result, SAMPLES_SUM: xxhash.xxh3_64_hexdigest(encoded(lines))})


def read_result(folder: Path) -> tuple[Row, list[Row]]:
    """Result and samples of a finished run, as they were written.

    Raises:
        InputError: the folder holds no finished run, or a file of it is damaged.
    """
    try:
        written, lines = (folder / RESULT).read_bytes(), (folder / SAMPLES).read_bytes()
    except OSError as error:
        raise InputError(
            f"Invalid folder: {folder} holds no finished run.",
            got=f"{type(error).__name__}: {error}",
            expected=f"{RESULT} and {SAMPLES}, as `vega3d eval run` writes them (one folder a task)",
            fix="finish the run: give its command again",
        ) from None
    result = unsummed(written)
    if result is None or not set(result) >= NAMES:
        raise _damaged(folder / RESULT)
    expected = result.pop(SAMPLES_SUM, None)
    rows = [unsummed(line) for line in lines.split(b"\n") if line]
    whole = [row for row in rows if row is not None and set(row) >= ROW_NAMES]
    if expected not in (None, xxhash.xxh3_64_hexdigest(lines)) or len(whole) < len(rows):
        raise _damaged(folder / SAMPLES)
    return result, whole


def _records(
    protocol: Protocol, samples: Sequence[Sample], answers: Mapping[str, Mapping[str, Any]]
) -> list[Row]:
    return [protocol.answered(sample.record, answers[sample.id].get("output") or "") for sample in samples]


def _scores(protocol: Protocol, records: Sequence[Row]) -> Scores:
    """Scores by the protocol, one for each record."""
    scores = protocol.score(records)
    if len(scores.per_sample) != len(records):
        raise ConfigError(
            f"Invalid protocol: {protocol.name} does not score every record that it is given.",
            got=f"{len(scores.per_sample)} scores of {len(records)} records",
            expected="one score for each record, in their order",
            fix="let the protocol's `filter` select its records",
        )
    return scores


def _row(
    protocol: Protocol, sample: Sample, answer: Mapping[str, Any], scored: Mapping[str, Any] | None
) -> Row:
    return {
        "id": sample.id,
        "kind": sample.kind,
        "scene": sample.scene,
        "media": answer.get("media"),
        "donor": answer.get("donor"),
        "question": sample.record.get("question"),
        "truth": sample.record.get(protocol.benchmark.truth),
        "prompt": answer.get("prompt"),
        "output": answer.get("output"),
        "scored": dict(scored) if scored else None,
        "score": protocol.score_of(scored) if scored else None,
        "error": answer.get("error"),
    }


def _mean(scores: Sequence[float], weights: Any, kinds: Sequence[str], scenes: Sequence[str]) -> Row:
    mean = float(sum(w * s for w, s in zip(weights, scores, strict=True))) if len(scores) else None
    error = clustered_error(scores, weights, kinds, scenes) if len(scores) else None
    return {"mean": mean, "standard_error": error, "n": len(scores), "scenes": len(set(scenes))}


def _damaged(file: Path) -> InputError:
    return InputError(
        f"Cannot read {file}: it is damaged.",
        got="values that are missing, or that differ from the run's checksum",
        expected="the file as `vega3d eval run` wrote it",
        fix="give the command of the run again: answers are kept, and the file is written anew",
    )
