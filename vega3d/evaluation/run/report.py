"""Pages of a run: numbers with their errors, and samples of every kind of question.

Decision: the HTML is one file, so it can be mailed and opened anywhere. All text from outside is
escaped. The Markdown holds the same without pictures. A report is made from a run's folder alone and can be
made again at any time; clips that are gone leave a sample without frames. The overview of several tasks has
one row a number, since two protocols never share a column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vega3d._utils.files import sweep_parts
from vega3d._utils.page import jpeg_uri, render
from vega3d.errors import Vega3DError
from vega3d.evaluation.media import from_written, length, read, spread
from vega3d.evaluation.run.checksums import write_text
from vega3d.evaluation.run.percent import FEWEST, metric, percent, with_error
from vega3d.evaluation.run.results import RESULT, read_result, unfinished

SHOWN = 12  # failures with frames, and as many successes
MOST = 2000  # samples on a page
FRAMES = 4
SIDE = 160  # pixels of the shorter side of a frame
VERDICTS = ("right", "partly right", "wrong", "error", "not scored")

_LEGEND = (
    f"Errors are standard errors over scenes, from {FEWEST} questions on. Chance: a guess among the options "
    "(dashed). Constant: the best single answer to all questions of the kind, chosen with the true answers "
    "at hand (solid)."
)
_MARKUP = re.compile(
    r"(?P<line>[\r\n]+)"
    r"|(?P<entity>[|<>&\\`@$])"  # a pipe ends a cell even behind a backslash, in some renderers
    r"|(?P<mark>[*\[\]~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=/)/|(?<=\w)\.(?=[A-Za-z]))"
)
Row = Mapping[str, Any]


def runs_of(folder: Path) -> list[Path]:
    """The finished tasks of a run, by name; the folder itself if it is one."""
    if (folder / RESULT).is_file():
        return [folder]
    return sorted(file.parent for file in folder.glob(f"*/{RESULT}"))


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write the pages of a finished task from its files; returns both paths.

    Raises:
        InputError: the folder holds no finished run.
    """
    return write_pages(folder, *read_result(folder))


def write_pages(folder: Path, result: Row, rows: Sequence[Row]) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` into a task's folder; returns both paths."""
    return (
        write_text(folder / "report.md", markdown(result, rows)),
        write_text(folder / "report.html", page(result, rows)),
    )


def write_overview(folder: Path) -> Path:
    """Write ``report.html`` over all tasks into the folder of a run.

    Raises:
        InputError: no task of it is finished.
    """
    if not (runs := [read_result(task) for task in runs_of(folder)]):
        raise unfinished(folder, f"no folder with a {RESULT} in it")
    values = {"sections": [_section(*run) for run in runs], "overview": [_overview(r) for r, _ in runs]}
    sweep_parts(folder)
    return write_text(folder / "report.html", _page(f"{len(runs)} tasks", **values))


def facts(result: Row) -> list[tuple[str, str]]:
    """Names and values at the top of a report."""
    count, settings = result["count"], result["provenance"]
    model = settings.get("model", {})
    lines = _headline(result)
    if count["errors"]:
        with_errors = result["headline_with_errors_as_wrong"].items()
        lines += [
            (f"{name}, errors as wrong", metric(name, value, count["asked"])) for name, value in with_errors
        ]
    asked = f"{count['answered']} answered, {count['errors']} errors, {count['official'] or '?'} official"
    return [
        *lines,
        *((f"{name} mean", with_error(result[name])) for name in ("macro", "micro")),
        ("questions", asked),
        ("model", f"{model.get('name')} ({model.get('kind')})" if isinstance(model, dict) else str(model)),
        ("features", str(settings.get("features"))),
        ("frames", f"{settings.get('frames')}, sent as {settings.get('send')}"),
        ("protocol", str(result["protocol"])),
        ("means are of", str(result.get("score"))),
    ]


def _headline(result: Row) -> list[tuple[str, str]]:
    """Names and values of the protocol's own numbers."""
    answered = result["count"]["answered"]
    return [(name, metric(name, value, answered)) for name, value in result["headline"].items()]


def warnings(result: Row) -> list[str]:
    """Limits of the numbers, for the top of a report."""
    count = result["count"]
    notes = []
    if count["errors"]:
        notes.append(f"{count['errors']} questions could not be asked; they are in no score.")
    if not count["complete"]:
        notes.append(
            f"Not the whole benchmark: {count['answered']} of {count['official'] or '?'} questions. "
            "Do not compare these numbers with published ones."
        )
    if result["macro"]["standard_error"] is None:
        notes.append("One scene only: no standard error can be said.")
    return notes


def failures(rows: Sequence[Row], most: int = SHOWN) -> list[Row]:
    """The worst samples, taken from the kinds in turn; errors first."""
    worst = sorted(
        (row for row in rows if row["error"] or (row["score"] is not None and row["score"] < 1)),
        key=lambda row: (not row["error"], row["score"] or 0.0),
    )
    return _in_turns(worst, most)


def successes(rows: Sequence[Row], most: int = SHOWN) -> list[Row]:
    """Samples with a full score, taken from the kinds in turn."""
    return _in_turns([row for row in rows if verdict(row) == "right"], most)


def verdict(row: Row) -> str:
    """One of ``VERDICTS``."""
    if row["error"]:
        return "error"
    if row["score"] is None:
        return "not scored"
    return "right" if row["score"] >= 1 else "partly right" if row["score"] > 0 else "wrong"


def _in_turns(rows: Sequence[Row], most: int) -> list[Row]:
    """The first of every kind, then the second of every kind, and so on."""
    turns: dict[str, int] = {}
    ranked: list[tuple[int, Row]] = []
    for row in rows:
        turns[row["kind"]] = turns.get(row["kind"], 0) + 1
        ranked.append((turns[row["kind"]], row))
    return [row for _, row in sorted(ranked, key=lambda entry: entry[0])[:most]]  # a stable sort


def markdown(result: Row, rows: Sequence[Row]) -> str:
    """The report as Markdown."""
    kinds = [
        (kind, with_error(mean), *_baselines(result, kind), mean["n"], mean["scenes"])
        for kind, mean in result["kinds"].items()
    ]
    lines = [
        f"# {_cell(result['task'])}",
        "",
        *(f"> {text}\n" for text in warnings(result)),
        "| | |",
        "|---|---|",
        *map(_markdown_row, facts(result)),
        "",
        "| kind | mean | chance | constant | questions | scenes |",
        "|---|---|---|---|---|---|",
        *map(_markdown_row, kinds),
        "",
        _LEGEND,
        "",
        *_markdown_samples("Successes", successes(rows)),
        *_markdown_samples("Failures to look at", failures(rows)),
    ]
    return "\n".join(lines) + "\n"


def _markdown_samples(title: str, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    cells = [
        (row["id"], row["kind"], row["question"], row["truth"], row["error"] or row["output"]) for row in rows
    ]
    head = ["| id | kind | question | truth | answer |", "|---|---|---|---|---|"]
    return [f"## {title}", "", *head, *map(_markdown_row, cells), ""]


def page(result: Row, rows: Sequence[Row]) -> str:
    """The report as one self-contained HTML file."""
    return _page(str(result["task"]), sections=[_section(result, rows)], overview=[])


def _page(title: str, **values: Any) -> str:
    return render("evaluation/run/report.html", title, legend=_LEGEND, verdicts=VERDICTS, **values)


def _section(result: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """Values of the template for one task."""
    framed = {row["id"] for row in (*failures(rows), *successes(rows))}
    shown = rows if len(rows) <= MOST else _in_turns(rows, MOST)
    first = sorted(shown, key=lambda row: row["id"] not in framed)
    return {
        "anchor": _anchor(result),
        "task": result["task"],
        "warnings": warnings(result),
        "facts": facts(result),
        "kinds": [_bar(result, kind, mean) for kind, mean in result["kinds"].items()],
        "samples": [sample(row, with_frames=row["id"] in framed) for row in first],
        "left_out": len(rows) - len(shown),
        "provenance": json.dumps(result["provenance"], indent=1, ensure_ascii=False),
    }


def _overview(result: Row) -> dict[str, Any]:
    """Values of the template for the rows of one task in the overview."""
    count = result["count"]
    counts = [count["answered"], count["errors"], count["official"] or "–"]
    return {"anchor": _anchor(result), "task": result["task"], "numbers": _headline(result), "counts": counts}


def _anchor(result: Row) -> str:
    """The name of a task's section."""
    return str(result["task"]).replace("/", "-")


def _baselines(result: Row, kind: str) -> tuple[str, str]:
    """Chance and the best constant answer; the run of version 0.1 may have neither."""
    values, questions = result.get("blind", {}).get(kind, {}), result["kinds"][kind]["n"]
    return percent(values.get("chance"), questions), percent(values.get("constant"), questions)


def _bar(result: Row, kind: str, mean: Row) -> dict[str, Any]:
    """Values of the template for one kind of question; places are in percent of the bar."""
    share = mean["mean"] or 0.0
    error = 0.0 if mean["n"] < FEWEST else mean["standard_error"] or 0.0
    low, high = max(0.0, share - error), min(1.0, share + error)
    ticks = result.get("blind", {}).get(kind, {})
    return {
        "kind": kind,
        "width": f"{100 * share:.2f}",
        "whisker": (f"{100 * low:.2f}", f"{100 * (high - low):.2f}") if error else None,
        "ticks": [(name, f"{100 * value:.2f}") for name, value in ticks.items() if value is not None],
        "cells": [with_error(mean), *_baselines(result, kind), mean["n"]],
    }


def sample(row: Row, *, with_frames: bool) -> dict[str, Any]:
    """Values of the template for one question; ``parsed`` is the part of the answer that was scored."""
    names = ("id", "kind", "question", "truth", "prompt", "output", "error")
    score = "–" if row["score"] is None else f"{row['score']:.2g}"
    frames = _frames(row["media"]) if with_frames and not row["error"] else []
    parsed = row.get("parsed", row["output"])
    return {**{name: row.get(name) for name in names}, "parsed": parsed} | {
        "verdict": verdict(row),
        "score": score,
        "frames": frames,
    }


def _frames(media: str | list[str]) -> list[str]:
    clip = from_written(media)
    try:
        frames = read(clip, spread(length(clip), FRAMES))
    except Vega3DError:
        return []
    return [jpeg_uri(frame.permute(1, 2, 0).numpy(), 80, SIDE) for frame in frames]


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ("–" if value is None else str(value))


def _cell(value: object) -> str:
    return escaped(_shown(value))


def _markdown_row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def escaped(text: str) -> str:
    """Text for one line of Markdown or one cell of a table, read as text by every renderer, never as markup.

    Only the start of markup is written as an entity or behind a backslash, so that the file can be read as it
    is, too. Renderers also make links of bare addresses; dots between letters and double slashes are escaped
    against that. Line breaks become blanks.
    """
    return _MARKUP.sub(_replaced, text)


def _replaced(match: re.Match[str]) -> str:
    if match["line"]:
        return " "
    return f"&#{ord(match['entity'])};" if match["entity"] else f"\\{match['mark']}"
