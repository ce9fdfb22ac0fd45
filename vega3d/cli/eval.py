"""``vega3d eval score`` and ``vega3d eval list``; further actions are registered from their own files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from vega3d.cli._eval_more import add_more
from vega3d.cli._eval_run import add_run


def add_parser(commands: Any) -> None:
    """Register the command and its sub-commands."""
    parser = commands.add_parser("eval", help="run and score benchmarks, each protocol by its name")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_run(actions)
    add_more(actions)
    score = actions.add_parser(
        "score",
        help="score a file of predictions",
        description="Score predictions by one protocol. FILE is JSON with a list under 'samples', a JSON "
        "list, or JSON Lines. Metrics that cannot be computed here are null in OUT and named on standard "
        "error, and so are records that lack something.",
        epilog="example: vega3d eval score vsibench predictions.jsonl --out scores.json",
    )
    score.add_argument("task", metavar="TASK", help="a name of `vega3d eval list`, such as scanqa/leo")
    score.add_argument("file", metavar="FILE", help="predictions: JSON or JSON Lines")
    score.add_argument("--out", required=True, metavar="OUT", help="where the scores go (JSON)")
    score.set_defaults(run=run_score)
    listed = actions.add_parser(
        "list",
        help="the protocols that can be scored",
        description="Name, benchmark and rules of every protocol; numbers of two protocols do not compare.",
    )
    listed.add_argument("--json", action="store_true", help="everything about each protocol, as JSON")
    listed.set_defaults(run=run_list)


def run_score(arguments: argparse.Namespace) -> int:
    """Score, write, and print the headline numbers."""
    from vega3d.evaluation import load_task, score_file, write_scores

    task = load_task(arguments.task)
    result = score_file(task, arguments.file)
    _warn(result)
    for name, value in task.headlines(result).items():
        print(f"{task.name:28} {name:44} {_number(value):>10}   n={result['n']}")
    print(write_scores(result, arguments.out))
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Print the protocols; a plug-in that does not load is named and does not hide the others."""
    from vega3d.evaluation import load_task, task_names

    tasks, broken = [], {}
    for name in task_names():
        try:
            tasks.append(load_task(name))
        except Exception as error:  # somebody else's module may raise anything
            broken[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if arguments.json:
        print(json.dumps([_described(task) for task in tasks], indent=1))
    else:
        for task in tasks:
            print(f"{task.name:28} {task.title:20} {task.protocol}")
    for name, reason in broken.items():
        print(f"[vega3d] {name}: {reason}", file=sys.stderr)
    return 0


def _described(task: Any) -> dict[str, Any]:
    return {
        "name": task.name,
        "title": task.title,
        "version": task.version,
        "protocol": task.protocol,
        "sources": list(task.sources),
        "fields": {field.name: field.meaning for field in task.fields},
        "headline": [list(path) for path in task.headline],
    }


def _warn(result: Mapping[str, Any]) -> None:
    for problem, count in result["problems"].items():
        print(f"[vega3d] {count} of {result['n']} records: {problem}", file=sys.stderr)
    for metric, reason in result["unavailable"].items():
        print(f"[vega3d] {metric} is unavailable: {reason}", file=sys.stderr)


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ("null" if value is None else str(value))
