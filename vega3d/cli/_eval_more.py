"""``vega3d eval compare``, ``eval check`` and ``eval report``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

FOLLOW_LINKS = (
    "follow links below DIR that lead out of it; a link that stands in DIR itself is followed anyway"
)


def add_more(actions: Any) -> None:
    """Register the actions."""
    compare = actions.add_parser(
        "compare",
        help="is run B better than run A?",
        description="Paired bootstrap over scenes: what B has over A on the questions that both answered.",
        epilog="example: vega3d eval compare runs/plain/vsibench runs/ours/vsibench",
    )
    compare.add_argument("first", metavar="A", help="folder of a finished run (of one task)")
    compare.add_argument("second", metavar="B", help="folder of another one, of the same task and data")
    compare.add_argument("--draws", type=int, default=10_000, metavar="N", help="default: 10000")
    compare.add_argument("--json", action="store_true", help="everything, as JSON")
    compare.set_defaults(run=run_compare)
    check = actions.add_parser(
        "check",
        help="what of a benchmark is on disk, what is missing, where it comes from",
        description="Looks at a benchmark's folder; downloads nothing. Exit code 1 if something is missing.",
    )
    check.add_argument("benchmark", metavar="BENCHMARK", help="the first part of a task's name")
    check.add_argument("--data", required=True, metavar="DIR", help="its folder, or hub:OWNER/NAME")
    check.add_argument("--follow-links", action="store_true", help=FOLLOW_LINKS)
    check.add_argument("--json", action="store_true", help="everything, as JSON")
    check.set_defaults(run=run_check)
    report = actions.add_parser("report", help="write the pages of a finished run again")
    report.add_argument("folder", metavar="DIR", help="folder of a run: its --out, or one task in it")
    report.set_defaults(run=run_report)


def run_compare(arguments: argparse.Namespace) -> int:
    """Print differences with their intervals, in points of 100."""
    from vega3d.errors import ConfigError
    from vega3d.evaluation.running.compare import compare

    if arguments.draws < 100:
        raise ConfigError(
            "Too few draws.", got=arguments.draws, expected="100 or more", fix="leave --draws out"
        )
    found = compare(Path(arguments.first), Path(arguments.second), draws=arguments.draws)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return 0
    print(f"{found['task']}: {found['paired']} paired questions in {found['scenes']} scenes", end="")
    print(f", {found['left_out']} left out")
    for name in ("macro", "micro"):
        print(f"{name:8} {_line(found[name])}")
    for kind, difference in found["kinds"].items():
        print(f"  {_printable(kind):32} {100 * difference:+.2f}")
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Print the state of a folder."""
    from vega3d.evaluation.running.check import check
    from vega3d.evaluation.suites.hub import folder_of

    found = check(arguments.benchmark, folder_of(arguments.data), follow_links=arguments.follow_links)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return 0 if found["ready"] else 1
    print(f"{found['benchmark']} in {found['folder']}: {'ready' if found['ready'] else 'not ready'}")
    if found["problem"]:
        print(f"  {found['problem']}")
    print(f"  questions {found['questions']} of {found['official'] or '?'} official")
    print(f"  clips {found['clips']}, missing {len(found['missing_clips'])}")
    for clip in found["missing_clips"][:5]:
        print(f"    {_printable(clip)}")
    for name in ("layout", "where", "licence"):
        print(f"  {name}: {found[name]}")
    return 0 if found["ready"] else 1


def run_report(arguments: argparse.Namespace) -> int:
    """Write the pages, print the path of the topmost."""
    from vega3d.evaluation.running.overview import runs_of, write_overview
    from vega3d.evaluation.running.report import write_report

    folder = Path(arguments.folder)
    tasks = runs_of(folder)
    for task in tasks if tasks != [folder] else ():
        write_report(task)
    for path in write_report(folder) if tasks == [folder] else (write_overview(folder),):
        print(path)
    return 0


def _printable(text: str) -> str:
    """Text of a data set, which may hold a lone surrogate that no terminal takes."""
    return text.encode(errors="backslashreplace").decode()


def _line(found: dict[str, Any]) -> str:
    if found["difference"] is None:
        return "nothing to compare"
    line = f"{100 * found['first']:.2f} -> {100 * found['second']:.2f}   {100 * found['difference']:+.2f}"
    if found["interval_95"] is None:
        return line + "   (one scene: no interval)"
    low, high = (100 * edge for edge in found["interval_95"])
    return line + f"   95 % interval {low:+.2f} to {high:+.2f}"
