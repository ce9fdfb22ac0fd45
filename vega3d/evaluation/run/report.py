"""Pages of a run: numbers with their errors, a bar for each kind of question, failures with their frames.

Decision: the HTML is one file without scripts and without addresses, so it can be mailed and opened anywhere;
all text from a model or a data set is escaped. The Markdown holds the same without pictures. A report is made
from a run's folder alone and can be made again at any time; clips that are gone leave a failure without
frames. The overview of several tasks has one row a number, since two protocols never share a column.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from vega3d._utils.files import sweep_parts
from vega3d.errors import Vega3DError
from vega3d.evaluation.media import from_written, length, read, spread
from vega3d.evaluation.run.checksums import write_text
from vega3d.evaluation.run.results import RESULT, read_result, unfinished

SHOWN = 12  # failures
FRAMES = 4
WIDTH = 160
STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem;vertical-align:top}
.track{background:#e8e8e8;width:16rem;height:1rem;display:inline-block;position:relative}
.bar{background:#2a6f97;height:1rem;display:block}.whisker{position:absolute;top:.4rem;height:.2rem;background:#111}
.chance,.constant{position:absolute;top:-.2rem;height:1.4rem;border-left:2px dashed #c1121f}
.constant{border-left:2px solid #f77f00}
article{border-top:1px solid #ccc;padding:.6rem 0}img{margin-right:.3rem}pre{white-space:pre-wrap}
.warn{background:#fff3cd;padding:.5rem}"""

_LEGEND = (
    "Errors are standard errors over scenes. Chance: a guess among the options (dashed). Constant: the best "
    "single answer to all questions of the kind, chosen with the true answers at hand (solid)."
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
    head = _table_row("task", "number", "", "answered", "errors", "official", cell="th")
    numbers = "".join(_numbers(result) for result, _ in runs)
    body = f"<h1>{len(runs)} tasks</h1><table>{head}{numbers}</table>"
    content = _document("vega3d eval", body + "".join(_section(*run) for run in runs))
    sweep_parts(folder)
    return write_text(folder / "report.html", content)


def facts(result: Row) -> list[tuple[str, str]]:
    """Names and values at the top of a report."""
    count, settings = result["count"], result["provenance"]
    model = settings.get("model", {})
    lines = [(name, _shown(value)) for name, value in result["headline"].items()]
    if count["errors"]:
        with_errors = result["headline_with_errors_as_wrong"]
        lines += [(f"{name}, errors as wrong", _shown(value)) for name, value in with_errors.items()]
    asked = f"{count['answered']} answered, {count['errors']} errors, {count['official'] or '?'} official"
    return [
        *lines,
        *((f"{name} mean", _with_error(result[name])) for name in ("macro", "micro")),
        ("questions", asked),
        ("model", f"{model.get('name')} ({model.get('kind')})" if isinstance(model, dict) else str(model)),
        ("features", str(settings.get("features"))),
        ("frames", f"{settings.get('frames')}, sent as {settings.get('send')}"),
        ("protocol", str(result["protocol"])),
        ("means are of", str(result.get("score"))),
    ]


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
    turns: dict[str, int] = {}
    ranked: list[tuple[int, Row]] = []
    for row in worst:
        turns[row["kind"]] = turns.get(row["kind"], 0) + 1
        ranked.append((turns[row["kind"]], row))
    return [row for _, row in sorted(ranked, key=lambda entry: entry[0])[:most]]  # a stable sort


def markdown(result: Row, rows: Sequence[Row]) -> str:
    """The report as Markdown."""
    kinds = [
        (kind, _with_error(mean), *_baselines(result, kind), mean["n"], mean["scenes"])
        for kind, mean in result["kinds"].items()
    ]
    failed = [
        (row["id"], row["kind"], row["question"], row["truth"], row["error"] or row["output"])
        for row in failures(rows)
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
        "## Failures to look at",
        "",
        "| id | kind | question | truth | answer |",
        "|---|---|---|---|---|",
        *map(_markdown_row, failed),
    ]
    return "\n".join(lines) + "\n"


def page(result: Row, rows: Sequence[Row]) -> str:
    """The report as one self-contained HTML file."""
    return _document(str(result["task"]), _section(result, rows))


def _document(title: str, body: str) -> str:
    """A whole HTML file around a body; it names no other file."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def _section(result: Row, rows: Sequence[Row]) -> str:
    """The report of one task, as a part of a page."""
    top = "".join(_table_row(_text(name), _text(value)) for name, value in facts(result))
    notes = "".join(f'<p class="warn">{_text(note)}</p>' for note in warnings(result))
    head = _table_row("kind", "", "mean", "chance", "constant", "questions", cell="th")
    bars = "".join(_bar(kind, mean, *_baselines(result, kind)) for kind, mean in result["kinds"].items())
    failed = "".join(_failure(row) for row in failures(rows))
    provenance = _text(json.dumps(result["provenance"], indent=1, ensure_ascii=False))
    return (
        f'<section id="{_anchor(result)}"><h1>{_text(result["task"])}</h1>{notes}<table>{top}</table>'
        f'<h2>Kinds of questions</h2><table class="kinds">{head}{bars}</table><p>{_text(_LEGEND)}</p>'
        f"<h2>Failures to look at</h2>{failed}<h2>Provenance</h2><pre>{provenance}</pre></section>"
    )


def _numbers(result: Row) -> str:
    """The rows of one task in the overview."""
    count = result["count"]
    link = f'<a href="#{_anchor(result)}">{_text(result["task"])}</a>'
    counts = [_text(count[name]) for name in ("answered", "errors")] + [_text(count["official"] or None)]
    return "".join(
        _table_row(link, _text(name), _text(value), *counts) for name, value in result["headline"].items()
    )


def _anchor(result: Row) -> str:
    """The name of a task's section."""
    return _text(str(result["task"]).replace("/", "-"))


def _baselines(result: Row, kind: str) -> tuple[float | None, float | None]:
    """Chance and the best constant answer; the run of version 0.1 may have neither."""
    values = result.get("blind", {}).get(kind, {})
    return values.get("chance"), values.get("constant")


def _bar(kind: str, mean: Row, chance: float | None, constant: float | None) -> str:
    share, error = mean["mean"] or 0.0, mean["standard_error"] or 0.0
    low, high = max(0.0, share - error), min(1.0, share + error)
    whisker = f'<span class="whisker" style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></span>'
    ticks = "".join(
        f'<span class="{name}" style="left:{100 * value:.2f}%"></span>'
        for name, value in (("chance", chance), ("constant", constant))
        if value is not None
    )
    bar = f'<span class="bar" style="width:{100 * share:.2f}%"></span>'
    track = f'<span class="track">{bar}{whisker}{ticks}</span>'
    numbers = (_with_error(mean), chance, constant, mean["n"])
    return _table_row(_text(kind), track, *map(_text, numbers))


def _failure(row: Row) -> str:
    pictures = "".join(
        f'<img alt="frame" width="{WIDTH}" src="data:image/jpeg;base64,{data}">'
        for data in ([] if row["error"] else _frames(row["media"]))
    )
    return (
        f"<article><b>{_text(row['id'])}, {_text(row['kind'])}</b>, score {_shown(row['score'])}"
        f"<p>{_text(row['question'])}</p><p>{pictures}</p>"
        f"<p>true: <b>{_text(row['truth'])}</b>; answered:</p>"
        f"<pre>{_text(row['error'] or row['output'])}</pre></article>"
    )


def _frames(media: str | list[str]) -> list[str]:
    clip = from_written(media)
    try:
        return [_jpeg(frame.permute(1, 2, 0).numpy()) for frame in read(clip, spread(length(clip), FRAMES))]
    except Vega3DError:
        return []


def _jpeg(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    picture, buffer = PIL.Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((WIDTH, WIDTH))
    picture.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def _with_error(mean: Row) -> str:
    error = mean["standard_error"]
    return _shown(mean["mean"]) + ("" if error is None else f" ± {error:.4f}")


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ("–" if value is None else str(value))


def _text(value: object) -> str:
    return html.escape(_shown(value))


def _table_row(head: str, *cells: str, cell: str = "td") -> str:
    """A row of HTML cells; the first one is a heading."""
    return f"<tr><th>{head}</th>" + "".join(f"<{cell}>{text}</{cell}>" for text in cells) + "</tr>"


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
