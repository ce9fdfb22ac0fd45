"""A run as a page: numbers with their errors, a bar for each kind of question, failures with their frames.

Decision: the HTML is one file without scripts and without addresses, so it can be mailed and opened anywhere;
all text from a model or a data set is escaped. The Markdown says the same without pictures. A report is made
from a run's folder alone and can be made again at any time; clips that are gone leave a failure without
frames. This module knows no model.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from vega3d.errors import Vega3DError
from vega3d.evaluation.running.markdown import escaped
from vega3d.evaluation.running.sums import write_text
from vega3d.evaluation.running.written import read_result
from vega3d.evaluation.suites.media import from_written, length, read, spread

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

_HEAD = "<tr><th>kind</th><th></th><th>mean</th><th>chance</th><th>constant</th><th>questions</th></tr>"
_LEGEND = (
    "Errors are standard errors over scenes. Chance: a guess among the options (dashed). Constant: the best "
    "single answer to all questions of the kind, chosen with the true answers at hand (solid)."
)


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` into a run's folder; returns both paths."""
    result, rows = read_result(folder)
    pages = {"report.md": markdown(result, rows), "report.html": page(result, rows)}
    for name, content in pages.items():
        write_text(folder / name, content)
    return folder / "report.md", folder / "report.html"


def facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What stands on top of a report, as pairs."""
    count, about = result["count"], result["provenance"]
    model = about.get("model", {})
    lines = [(name, _shown(value)) for name, value in result["headline"].items()]
    if count["errors"]:
        wrong = result["headline_with_errors_as_wrong"]
        lines += [(f"{name}, errors as wrong", _shown(value)) for name, value in wrong.items()]
    lines += [(f"{name} mean", _with_error(result[name])) for name in ("macro", "micro")]
    lines += [
        (
            "questions",
            f"{count['answered']} answered, {count['errors']} errors, {count['official'] or '?'} official",
        ),
        ("model", f"{model.get('name')} ({model.get('kind')})" if isinstance(model, dict) else str(model)),
        ("features", str(about.get("features"))),
        ("frames", f"{about.get('frames')}, sent as {about.get('send')}"),
        ("protocol", str(result["protocol"])),
        ("means are of", str(result.get("score"))),
    ]
    return lines


def warnings(result: Mapping[str, Any]) -> list[str]:
    """What a reader must not overlook."""
    count = result["count"]
    found = []
    if count["errors"]:
        found.append(f"{count['errors']} questions could not be asked; they are in no score.")
    if not count["complete"]:
        found.append(
            f"Not the whole benchmark: {count['answered']} of {count['official'] or '?'} questions. "
            "Do not compare these numbers with published ones."
        )
    if result["macro"]["standard_error"] is None:
        found.append("One scene only: no standard error can be said.")
    return found


def failures(rows: Sequence[Mapping[str, Any]], most: int = SHOWN) -> list[Mapping[str, Any]]:
    """The worst samples, a kind after the other so that each is seen; errors first."""
    worst = sorted(
        (row for row in rows if row["error"] or (row["score"] is not None and row["score"] < 1)),
        key=lambda row: (not row["error"], row["score"] or 0.0),
    )
    turns: dict[str, int] = {}
    order: list[tuple[int, int, Mapping[str, Any]]] = []
    for row in worst:
        turns[row["kind"]] = turns.get(row["kind"], 0) + 1
        order.append((turns[row["kind"]], len(order), row))
    return [row for _, _, row in sorted(order, key=lambda entry: entry[:2])[:most]]


def markdown(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The report as Markdown."""
    lines = [
        f"# {_cell(result['task'])}",
        "",
        *(f"> {text}\n" for text in warnings(result)),
        "| | |",
        "|---|---|",
    ]
    lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in facts(result)]
    lines += ["", "| kind | mean | chance | constant | questions | scenes |", "|---|---|---|---|---|---|"]
    for kind, mean in result["kinds"].items():
        blind = " | ".join(_shown(_blind(result, kind, name)) for name in ("chance", "constant"))
        lines.append(f"| {_cell(kind)} | {_with_error(mean)} | {blind} | {mean['n']} | {mean['scenes']} |")
    lines += ["", _LEGEND, "", "## Failures to look at", ""]
    lines += ["| id | kind | question | truth | answer |", "|---|---|---|---|---|"]
    for row in failures(rows):
        cells = (row["id"], row["kind"], row["question"], row["truth"], row["error"] or row["output"])
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def page(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The report as one self-contained HTML file."""
    return document(str(result["task"]), section(result, rows))


def document(title: str, body: str) -> str:
    """A whole HTML file around a body; it names no other file."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def section(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The report of one task, as a part of a page."""
    top = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in facts(result))
    notes = "".join(f'<p class="warn">{_text(note)}</p>' for note in warnings(result))
    bars = "".join(
        _bar(kind, mean, _blind(result, kind, "chance"), _blind(result, kind, "constant"))
        for kind, mean in result["kinds"].items()
    )
    failed = "".join(_failure(row) for row in failures(rows))
    about = _text(json.dumps(result["provenance"], indent=1, ensure_ascii=False))
    return (
        f'<section id="{_text(anchor(result))}"><h1>{_text(result["task"])}</h1>{notes}<table>{top}</table>'
        f'<h2>Kinds of questions</h2><table class="kinds">{_HEAD}{bars}</table><p>{_text(_LEGEND)}</p>'
        f"<h2>Failures to look at</h2>{failed}<h2>Provenance</h2><pre>{about}</pre></section>"
    )


def anchor(result: Mapping[str, Any]) -> str:
    """The name of a task's section."""
    return str(result["task"]).replace("/", "-")


def _blind(result: Mapping[str, Any], kind: str, name: str) -> float | None:
    value: float | None = result.get("blind", {}).get(kind, {}).get(name)
    return value


def _bar(kind: str, mean: Mapping[str, Any], chance: float | None, constant: float | None) -> str:
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
    cells = "".join(f"<td>{_text(value)}</td>" for value in numbers)
    return f"<tr><th>{_text(kind)}</th><td>{track}</td>{cells}</tr>"


def _failure(row: Mapping[str, Any]) -> str:
    answer = row["error"] if row["error"] else row["output"]
    pictures = (
        ""
        if row["error"]
        else "".join(
            f'<img alt="frame" width="{WIDTH}" src="data:image/jpeg;base64,{data}">'
            for data in _frames(row["media"])
        )
    )
    return (
        f"<article><b>{_text(row['id'])}, {_text(row['kind'])}</b>, score {_shown(row['score'])}"
        f"<p>{_text(row['question'])}</p><p>{pictures}</p>"
        f"<p>true: <b>{_text(row['truth'])}</b>; answered:</p><pre>{_text(answer)}</pre></article>"
    )


def _frames(media: str | list[str]) -> list[str]:
    found = from_written(media)
    try:
        return [_jpeg(frame.permute(1, 2, 0).numpy()) for frame in read(found, spread(length(found), FRAMES))]
    except Vega3DError:
        return []


def _jpeg(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    picture, buffer = PIL.Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((WIDTH, WIDTH))
    picture.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def _with_error(mean: Mapping[str, Any]) -> str:
    error = mean["standard_error"]
    return _shown(mean["mean"]) + ("" if error is None else f" ± {error:.4f}")


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ("–" if value is None else str(value))


def _text(value: object) -> str:
    return html.escape(_shown(value))


def _cell(value: object) -> str:
    return escaped(_shown(value))
