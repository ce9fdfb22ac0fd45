"""``vega3d eval list|score|check|compare|report``; ``eval run`` is registered from its own file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vega3d._utils.progress import note
from vega3d.cli._command import Commands
from vega3d.cli._eval_run import FOLLOW_LINKS, add_run
from vega3d.errors import ConfigError

_JSON = "everything, as JSON"


def add_parser(commands: Commands) -> None:
    """Register the command and its sub-commands."""
    actions = commands.group("eval", "action", help="run and score benchmarks, each protocol by its name")
    add_run(actions)
    add = actions.add(
        _compare,
        help="difference between two runs, with its interval",
        description="Paired bootstrap over scenes: B minus A on the questions that both answered.",
        epilog="example: vega3d eval compare runs/plain/vsibench runs/ours/vsibench",
    )
    add("first", metavar="A", help="folder of a finished run (of one task)")
    add("second", metavar="B", help="folder of another one, of the same task and data")
    add("--draws", type=int, default=10_000, metavar="N", help="default: 10000")
    probe = (
        "scores of a probe of B's features (JSON Lines: id, score); prints the uptake (B - A) / (probe - A)"
    )
    add("--probe", metavar="FILE", help=probe)
    card = "write the uptake into the card of this trained model, below its training report"
    add("--card", metavar="DIR", help=card)
    add("--html", metavar="FILE", help="also write both runs side by side as a page")
    add("--json", action="store_true", help=_JSON)
    add = actions.add(
        _check,
        help="present and missing files of a benchmark, their source and license",
        description="Checks a benchmark's folder; downloads nothing. Exit code 1 if something is missing.",
    )
    add("benchmark", metavar="BENCHMARK", help="the first part of a task's name")
    add("--data", required=True, metavar="DIR", help="its folder, or hub:OWNER/NAME")
    add("--follow-links", action="store_true", help=FOLLOW_LINKS)
    add("--json", action="store_true", help=_JSON)
    add = actions.add(_report, help="write the pages of a finished run again")
    add("folder", metavar="DIR", help="folder of a run: its --out, or one task in it")
    add = actions.add(
        _score,
        help="score a file of predictions",
        description="Score predictions by one protocol. FILE is JSON with a list under 'samples', a JSON "
        "list, or JSON Lines. Metrics that cannot be computed here are null in OUT and named on standard "
        "error, and so are records that lack something.",
        epilog="example: vega3d eval score vsibench predictions.jsonl --out scores.json",
    )
    add("task", metavar="TASK", help="a name of `vega3d eval list`, such as scanqa/leo")
    add("file", metavar="FILE", help="predictions: JSON or JSON Lines")
    add("--out", required=True, metavar="OUT", help="file for the scores (JSON)")
    add = actions.add(
        _list,
        help="the protocols that can be scored",
        description="Name, benchmark and rules of every protocol; numbers of two protocols do not compare.",
    )
    add("--json", action="store_true", help=_JSON)


def _score(arguments: argparse.Namespace) -> None:
    """Score, write, and print the metrics."""
    from vega3d.evaluation.benchmarks import load_protocol
    from vega3d.evaluation.scoring import as_record, scores_of_file, write_scores

    protocol = load_protocol(arguments.task)
    samples, scores = scores_of_file(protocol, Path(arguments.file))
    result = as_record(protocol, samples, scores)
    for problem, count in result["problems"].items():
        note(f"{count} of {result['n']} records: {problem}")
    for metric, reason in scores.unavailable.items():
        note(f"{metric} is unavailable: {reason}")
    for name, value in scores.headline.items():
        shown = f"{value:.4f}" if isinstance(value, float) else json.dumps(value)
        print(f"{protocol.name:28} {name:44} {shown:>10}   n={result['n']}")
    print(write_scores(result, arguments.out))


def _list(arguments: argparse.Namespace) -> None:
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
        note(f"{name}: {reason}")


def _compare(arguments: argparse.Namespace) -> None:
    """Print differences with their intervals, in points of 100."""
    from vega3d.evaluation.run.compare import compare

    if arguments.draws < 100:
        raise ConfigError("Invalid --draws.", got=arguments.draws, expected="100 or more", fix="leave it out")
    if arguments.card and not arguments.probe:
        what = "Missing --probe: there is no uptake without a probe."
        raise ConfigError(what, got="--card alone", expected="both", fix="add --probe FILE")
    first, second = Path(arguments.first), Path(arguments.second)
    probe = None if arguments.probe is None else Path(arguments.probe)
    result = compare(first, second, draws=arguments.draws, probe=probe)
    if arguments.html:
        from vega3d.evaluation.run.comparison import write_comparison

        page = write_comparison(first, second, Path(arguments.html), result)
        note(f"wrote {page}")
    if arguments.card:
        from vega3d.evaluation.run.uptake import write_to_card

        note(f"wrote {write_to_card(Path(arguments.card), result['task'], result['uptake'])}")
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    paired = f"{result['paired']} paired questions in {result['scenes']} scenes"
    print(f"{result['task']}: {paired}, {result['left_out']} left out")
    for name in ("macro", "micro"):
        print(f"{name:8} {_line(result[name], result['paired'])}")
    for kind, difference in result["kinds"].items():
        print(f"  {_printable(kind):32} {100 * difference:+.2f}")
    if "uptake" in result:
        from vega3d.evaluation.run.uptake import shown

        print(f"{'uptake':8} {shown(result['uptake'])}")


def _check(arguments: argparse.Namespace) -> int:
    """Print the state of a folder."""
    from vega3d.evaluation.hub import folder_of
    from vega3d.evaluation.run.check import check

    state = check(arguments.benchmark, folder_of(arguments.data), follow_links=arguments.follow_links)
    if arguments.json:
        print(json.dumps(state, indent=1))
    else:
        _print_state(state)
    return 0 if state["ready"] else 1


def _print_state(state: dict[str, Any]) -> None:
    print(f"{state['benchmark']} in {state['folder']}: {'ready' if state['ready'] else 'not ready'}")
    if state["problem"]:
        print(f"  {state['problem']}")
    print(f"  questions {state['questions']} of {state['official'] or '?'} official")
    print(f"  clips {state['clips']}, missing {len(state['missing_clips'])}")
    for clip in state["missing_clips"][:5]:
        print(f"    {_printable(clip)}")
    for name in ("layout", "where", "licence"):
        print(f"  {name}: {state[name]}")


def _report(arguments: argparse.Namespace) -> None:
    """Write the pages, print the path of the topmost."""
    from vega3d.evaluation.run.report import runs_of, write_overview, write_report

    folder = Path(arguments.folder)
    tasks = runs_of(folder)
    pages = [page for task in tasks for page in write_report(task)]
    print(*(pages if tasks == [folder] else [write_overview(folder)]), sep="\n")


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


def _printable(text: str) -> str:
    """Text of a data set, which may hold a lone surrogate that no terminal takes."""
    return text.encode(errors="backslashreplace").decode()


def _line(result: dict[str, Any], questions: int) -> str:
    from vega3d.evaluation.run.percent import FEWEST

    if result["difference"] is None:
        return "nothing to compare"
    line = f"{100 * result['first']:.2f} -> {100 * result['second']:.2f}   {100 * result['difference']:+.2f}"
    if result["interval_95"] is None:
        return line + "   (one scene: no interval)"
    if questions < FEWEST:
        return line + f"   (fewer than {FEWEST} questions: no interval)"
    low, high = (100 * edge for edge in result["interval_95"])
    return line + f"   95 % interval {low:+.2f} to {high:+.2f}"
