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
from vega3d.evaluation.run.checksums import as_json, encoded, unsummed, write_text
from vega3d.evaluation.run.standard_errors import clustered_error, macro_weights, micro_weights
from vega3d.evaluation.scoring import as_record

RESULT, SAMPLES = "result.json", "samples.jsonl"
SAMPLES_SUM = "samples_xxh3"  # in the result: of the bytes of the samples
NAMES = {"task", "protocol", "headline", "count", "micro", "macro", "kinds", "provenance"}  # of every result
ROW_NAMES = {"id", "kind", "scene", "media", "question", "truth", "output", "score", "error"}
PER_SAMPLE = ("per_sample", "extract_number")  # left to the samples' file
Row = dict[str, Any]
Answers = Mapping[str, Mapping[str, Any]]


def result_of(
    protocol: Protocol, samples: Sequence[Sample], answers: Answers, settings: Mapping[str, Any]
) -> tuple[Row, list[Row]]:
    """The result of a protocol, JSON-ready, and its scored samples.

    Raises:
        ConfigError: the protocol drops or adds samples, so that scores cannot be matched to answers.
    """
    asked = [sample for sample in samples if sample.id in answers]
    answered = [sample for sample in asked if answers[sample.id].get("error") is None]
    records, scores = _scored(protocol, answered, answers)
    by_id = dict(zip([sample.id for sample in answered], scores.per_sample, strict=True))
    rows = [_row(protocol, sample, answers[sample.id], by_id.get(sample.id)) for sample in asked]
    errors = len(asked) - len(answered)
    with_errors = _scored(protocol, asked, answers)[1] if errors else scores
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
    kinds = [row["kind"] for row in used]
    return {
        "micro": _mean(used),
        "macro": _mean(used, macro_weights(kinds, groups), kinds),
        "kinds": {kind: _mean([row for row in used if row["kind"] == kind]) for kind in sorted(set(kinds))},
    }


def write_result(folder: Path, result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``samples.jsonl``, then ``result.json`` with the checksums of both.

    Raises:
        WriteError: the folder cannot be written.
    """
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(folder / SAMPLES, lines)
    samples_sum = {SAMPLES_SUM: xxhash.xxh3_64_hexdigest(encoded(lines))}
    write_text(folder / RESULT, as_json({**result, **samples_sum}))


def read_result(folder: Path) -> tuple[Row, list[Row]]:
    """Result and samples of a finished run, as they were written.

    Raises:
        InputError: the folder holds no finished run, or a file of it is damaged.
    """
    try:
        written, lines = (folder / RESULT).read_bytes(), (folder / SAMPLES).read_bytes()
    except OSError as error:
        raise unfinished(folder, f"{type(error).__name__}: {error}") from None
    result = unsummed(written)
    if result is None or not set(result) >= NAMES:
        raise _damaged(folder / RESULT)
    expected = result.pop(SAMPLES_SUM, None)
    rows = [unsummed(line) for line in lines.split(b"\n") if line]
    whole = [row for row in rows if row is not None and set(row) >= ROW_NAMES]
    if expected not in (None, xxhash.xxh3_64_hexdigest(lines)) or len(whole) < len(rows):
        raise _damaged(folder / SAMPLES)
    return result, whole


def _scored(protocol: Protocol, samples: Sequence[Sample], answers: Answers) -> tuple[list[Row], Scores]:
    """Records with their answers, and scores by the protocol, one for each record."""
    records = [protocol.answered(s.record, answers[s.id].get("output") or "") for s in samples]
    scores = protocol.score(records)
    if len(scores.per_sample) != len(records):
        what = f"Invalid protocol: {protocol.name} does not score every record that it is given."
        expected, fix = f"{len(records)} scores", "let the protocol's `filter` select its records"
        raise ConfigError(what, got=len(scores.per_sample), expected=expected, fix=fix)
    return records, scores


def _row(protocol: Protocol, sample: Sample, answer: Mapping[str, Any], scored: Row | None) -> Row:
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
        "parsed": None if scored is None else protocol.parsed(sample.record, answer.get("output") or ""),
        "scored": dict(scored) if scored else None,
        "score": protocol.score_of(scored) if scored else None,
        "error": answer.get("error"),
    }


def _mean(rows: Sequence[Mapping[str, Any]], weights: Any = None, kinds: Sequence[str] | None = None) -> Row:
    """Mean with its error over scenes; without weights and kinds, every row counts the same."""
    scores, scenes = [row["score"] for row in rows], [row["scene"] for row in rows]
    weights = micro_weights(scores) if weights is None else weights
    mean = float(sum(w * s for w, s in zip(weights, scores, strict=True))) if rows else None
    error = clustered_error(scores, weights, kinds or [""] * len(rows), scenes) if rows else None
    return {"mean": mean, "standard_error": error, "n": len(scores), "scenes": len(set(scenes))}


def unfinished(folder: Path, got: str) -> InputError:
    """The error for a folder without a result."""
    what, fix = f"Invalid folder: {folder} holds no finished run.", "finish it: give its command again"
    expected = f"{RESULT} and {SAMPLES} in it or in its folders, as `vega3d eval run` writes them"
    return InputError(what, got=got, expected=expected, fix=fix)


def _damaged(file: Path) -> InputError:
    expected, got = "the file as `vega3d eval run` wrote it", "missing values, or another checksum"
    fix = "give the command of the run again: answers are kept, and the file is written anew"
    return InputError(f"Cannot read {file}: it is damaged.", got=got, expected=expected, fix=fix)
