"""``vega3d eval list|score|check|compare|report``; ``eval run`` is registered from its own file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from vega3d.cli._eval_run import FOLLOW_LINKS, add_run


def add_parser(commands: Any) -> None:
    """Register the command and its sub-commands."""
    parser = commands.add_parser("eval", help="run and score benchmarks, each protocol by its name")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_run(actions)
    compare = actions.add_parser(
        "compare",
        help="difference between two runs, with its interval",
        description="Paired bootstrap over scenes: B minus A on the questions that both answered.",
        epilog="example: vega3d eval compare runs/plain/vsibench runs/ours/vsibench",
    )
    compare.add_argument("first", metavar="A", help="folder of a finished run (of one task)")
    compare.add_argument("second", metavar="B", help="folder of another one, of the same task and data")
    compare.add_argument("--draws", type=int, default=10_000, metavar="N", help="default: 10000")
    compare.set_defaults(run=run_compare)
    check = actions.add_parser(
        "check",
        help="present and missing files of a benchmark, their source and license",
        description="Checks a benchmark's folder; downloads nothing. Exit code 1 if something is missing.",
    )
    check.add_argument("benchmark", metavar="BENCHMARK", help="the first part of a task's name")
    check.add_argument("--data", required=True, metavar="DIR", help="its folder, or hub:OWNER/NAME")
    check.add_argument("--follow-links", action="store_true", help=FOLLOW_LINKS)
    check.set_defaults(run=run_check)
    report = actions.add_parser("report", help="write the pages of a finished run again")
    report.add_argument("folder", metavar="DIR", help="folder of a run: its --out, or one task in it")
    report.set_defaults(run=run_report)
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
    score.add_argument("--out", required=True, metavar="OUT", help="file for the scores (JSON)")
    score.set_defaults(run=run_score)
    listed = actions.add_parser(
        "list",
        help="the protocols that can be scored",
        description="Name, benchmark and rules of every protocol; numbers of two protocols do not compare.",
    )
    listed.set_defaults(run=run_list)
    for action in (compare, check, listed):
        action.add_argument("--json", action="store_true", help="everything, as JSON")


def run_score(arguments: argparse.Namespace) -> int:
    """Score, write, and print the metrics."""
    from vega3d.evaluation.benchmarks import load_protocol
    from vega3d.evaluation.scoring import as_record, scores_of_file, write_scores

    protocol = load_protocol(arguments.task)
    samples, scores = scores_of_file(protocol, Path(arguments.file))
    result = as_record(protocol, samples, scores)
    for problem, count in result["problems"].items():
        print(f"[vega3d] {count} of {result['n']} records: {problem}", file=sys.stderr)
    for metric, reason in scores.unavailable.items():
        print(f"[vega3d] {metric} is unavailable: {reason}", file=sys.stderr)
    for name, value in scores.headline.items():
        print(f"{protocol.name:28} {name:44} {_number(value):>10}   n={result['n']}")
    print(write_scores(result, arguments.out))
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Print the protocols; a plug-in that does not load is named and does not hide the others."""
    from vega3d.evaluation.benchmarks import load_all

    benchmarks, broken = load_all()
    protocols = sorted((p for b in benchmarks for p in b.protocols), key=lambda protocol: protocol.name)
    if arguments.json:
        print(json.dumps([_described(protocol) for protocol in protocols], indent=1))
    else:
        for protocol in protocols:
            print(f"{protocol.name:28} {protocol.title:20} {protocol.rules}")
    for name, reason in broken.items():
        print(f"[vega3d] {name}: {reason}", file=sys.stderr)
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    """Print differences with their intervals, in points of 100."""
    from vega3d.errors import ConfigError
    from vega3d.evaluation.run.compare import compare

    if arguments.draws < 100:
        raise ConfigError(
            "Invalid --draws.", got=arguments.draws, expected="100 or more", fix="leave --draws out"
        )
    result = compare(Path(arguments.first), Path(arguments.second), draws=arguments.draws)
    if arguments.json:
        print(json.dumps(result, indent=1))
        return 0
    print(f"{result['task']}: {result['paired']} paired questions in {result['scenes']} scenes", end="")
    print(f", {result['left_out']} left out")
    for name in ("macro", "micro"):
        print(f"{name:8} {_line(result[name])}")
    for kind, difference in result["kinds"].items():
        print(f"  {_printable(kind):32} {100 * difference:+.2f}")
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Print the state of a folder."""
    from vega3d.evaluation.hub import folder_of
    from vega3d.evaluation.run.check import check

    state = check(arguments.benchmark, folder_of(arguments.data), follow_links=arguments.follow_links)
    if arguments.json:
        print(json.dumps(state, indent=1))
        return 0 if state["ready"] else 1
    print(f"{state['benchmark']} in {state['folder']}: {'ready' if state['ready'] else 'not ready'}")
    if state["problem"]:
        print(f"  {state['problem']}")
    print(f"  questions {state['questions']} of {state['official'] or '?'} official")
    print(f"  clips {state['clips']}, missing {len(state['missing_clips'])}")
    for clip in state["missing_clips"][:5]:
        print(f"    {_printable(clip)}")
    for name in ("layout", "where", "licence"):
        print(f"  {name}: {state[name]}")
    return 0 if state["ready"] else 1


def run_report(arguments: argparse.Namespace) -> int:
    """Write the pages, print the path of the topmost."""
    from vega3d.evaluation.run.report import runs_of, write_overview, write_report

    folder = Path(arguments.folder)
    if (tasks := runs_of(folder)) == [folder]:
        print(*write_report(folder), sep="\n")
        return 0
    for task in tasks:
        write_report(task)
    print(write_overview(folder))
    return 0


def _described(protocol: Any) -> dict[str, Any]:
    return {
        "name": protocol.name,
        "title": protocol.title,
        "version": protocol.version,
        "protocol": protocol.rules,
        "sources": list(protocol.sources),
        "fields": {field.name: field.meaning for field in protocol.fields},
        "metrics": [{"name": metric.name, "scale": metric.scale} for metric in protocol.score([]).metrics],
    }


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ("null" if value is None else str(value))


def _printable(text: str) -> str:
    """Text of a data set, which may hold a lone surrogate that no terminal takes."""
    return text.encode(errors="backslashreplace").decode()


def _line(result: dict[str, Any]) -> str:
    if result["difference"] is None:
        return "nothing to compare"
    line = f"{100 * result['first']:.2f} -> {100 * result['second']:.2f}   {100 * result['difference']:+.2f}"
    if result["interval_95"] is None:
        return line + "   (one scene: no interval)"
    low, high = (100 * edge for edge in result["interval_95"])
    return line + f"   95 % interval {low:+.2f} to {high:+.2f}"
