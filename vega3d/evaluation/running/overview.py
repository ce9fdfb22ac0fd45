"""All tasks of a run on one page: a list of headline numbers by protocol, then every task's report.

Decision: the list has one row a number, since two protocols never share a column. It is made from the tasks'
folders alone, as a task's own report is, and can be made again at any time.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from vega3d.errors import InputError
from vega3d.evaluation.running.report import anchor, document, section
from vega3d.evaluation.running.sums import write_text
from vega3d.evaluation.running.written import read_result
from vega3d.files import sweep_parts


def runs_of(folder: Path) -> list[Path]:
    """The finished tasks of a run, by name; the folder itself where it is one."""
    if (folder / "result.json").is_file():
        return [folder]
    return sorted(file.parent for file in folder.glob("*/result.json"))


def write_overview(folder: Path) -> Path:
    """Write ``report.html`` over all tasks into the folder of a run.

    Raises:
        InputError: no task of it is finished.
    """
    found = [read_result(task) for task in runs_of(folder)]
    if not found:
        raise InputError(
            f"{folder} holds no finished run.",
            got="no folder with a result.json in it",
            expected="the --out of `vega3d eval run`",
            fix="finish the run: give its command again",
        )
    names = "".join(_rows(result) for result, _ in found)
    head = "<tr><th>task</th><th>number</th><th></th><th>answered</th><th>errors</th><th>official</th></tr>"
    body = f"<h1>{len(found)} tasks</h1><table>{head}{names}</table>"
    content = document("vega3d eval", body + "".join(section(*one) for one in found))
    sweep_parts(folder)
    return write_text(folder / "report.html", content)


def _rows(result: dict[str, Any]) -> str:
    count = result["count"]
    counts = "".join(f"<td>{count[name]}</td>" for name in ("answered", "errors"))
    counts += f"<td>{count['official'] or '–'}</td>"
    link = f'<a href="#{html.escape(anchor(result))}">{html.escape(result["task"])}</a>'
    return "".join(
        f"<tr><th>{link}</th><td>{html.escape(name)}</td><td>{_shown(value)}</td>{counts}</tr>"
        for name, value in result["headline"].items()
    )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
