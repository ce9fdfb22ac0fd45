"""``python -m experiments.miniature run CONFIG | motion run CONFIG | figures | power``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vega3d.errors import InputError, Vega3DError

LOOKED_AT = ("host_twice", "host")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m experiments.miniature", description=__doc__)
    actions = made.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="every stage of a config; the same command goes on after a kill")
    run.add_argument("config", help="quick, cpu, where, gpu, or a YAML file")
    run.add_argument("overrides", nargs="*", metavar="key.sub=value")
    run.add_argument("--out", type=Path, default=None, help="default: out/miniature/CONFIG")
    run.add_argument("--until", default=None, metavar="STAGE", help="stop behind this stage")
    motion = actions.add_parser("motion", help="the third plan, PREREGISTRATION_MOTION.md")
    motion.add_argument("step", choices=("run", "power", "keep"), help="run resumes; keep copies its results")
    motion.add_argument("config", nargs="?", default="motion", help="quick, motion, depth, or a YAML file")
    motion.add_argument("overrides", nargs="*", metavar="key.sub=value")
    motion.add_argument("--out", type=Path, default=None, help="default: out/miniature/motion/CONFIG")
    motion.add_argument(
        "--minutes", type=float, default=70.0, help="end after the stage that is then running"
    )
    keep = actions.add_parser("keep", help="copy a run's small results to where figures are made from")
    keep.add_argument("config", help="cpu, where or gpu")
    keep.add_argument("--out", type=Path, default=None)
    figures = actions.add_parser("figures", help="every figure and table of the docs page from kept results")
    figures.add_argument("--results", type=Path, default=None)
    figures.add_argument("--docs", type=Path, default=None)
    power = actions.add_parser("power", help="what each config can see")
    power.add_argument("config", nargs="?", default=None, help="only this one")
    power.add_argument("--gap", type=float, default=None, help="between the probes of two arms, in points")
    power.add_argument(
        "--uptake", type=float, default=None, help="of true inputs; a plan that sees less is refused"
    )
    power.add_argument(
        "--run", type=Path, default=None, help="take the spread of its arms host and host_twice"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one action; an error that we know is one message."""
    given = parser().parse_args(arguments)
    try:
        actions = {"run": _run, "motion": _motion, "keep": _keep, "figures": _figures, "power": _power}
        actions[given.action](given)
    except Vega3DError as error:
        print(f"miniature: {error}", file=sys.stderr)
        return 2
    return 0


def _run(given: argparse.Namespace) -> None:
    from experiments.miniature.config import load
    from experiments.miniature.pipeline import run

    name = Path(given.config).stem
    run(load(given.config, given.overrides), given.out or Path("out/miniature") / name, until=given.until)


def _motion(given: argparse.Namespace) -> None:
    from experiments.miniature.motion.config import load
    from experiments.miniature.motion.pipeline import check_power, run
    from experiments.miniature.pages import keep

    settings, name = load(given.config, given.overrides), Path(given.config).stem
    out = given.out or Path("out/miniature/motion") / name
    if given.step == "run":
        run(settings, out, minutes=given.minutes)
    elif given.step == "keep":
        keep(out, name)
    else:
        effect = check_power(settings)
        print("nothing is expected" if effect is None else f"P1: {effect:.2f} points are expected, and seen")


def _keep(given: argparse.Namespace) -> None:
    from experiments.miniature.pages import keep

    keep(given.out or Path("out/miniature") / given.config, given.config)


def _figures(given: argparse.Namespace) -> None:
    from experiments.miniature.pages import DOCS, RESULTS, regenerate

    for file in regenerate(given.results or RESULTS, given.docs or DOCS):
        print(file)


def _power(given: argparse.Namespace) -> None:
    from experiments.miniature.config import CONFIGS, load
    from experiments.miniature.power import LEVEL, Spread, require_visible, said, table

    measured = None if given.run is None else Spread.measured(_look(given.run))
    names = [given.config] if given.config else [file.stem for file in sorted(CONFIGS.glob("*.yaml"))]
    configs = {name: load(name) for name in names}
    spreads = {name: measured or Spread.expected(own.questions) for name, own in configs.items()}
    for spread in dict.fromkeys(spreads.values()):
        print(f"spread over rooms {spread.rooms:.1f}, over seeds {spread.seeds:.1f} points\n")
        print(f"{table(spread)}\n")
        for name in (name for name, own in spreads.items() if own == spread):
            rooms, seeds = configs[name].rooms.held_out, len(configs[name].seeds)
            print(f"{name}: {said(spread, rooms, seeds)}\n")
            if given.gap is not None and given.uptake is not None:
                effect = require_visible(spread, rooms, seeds, given.gap, given.uptake, LEVEL / 2)
                print(f"{name}: {effect:.2f} points are expected, and seen.\n")


def _look(run: Path) -> Mapping[str, Any]:
    """The one contrast that the plan allows to look at before the others exist."""
    from experiments.miniature.stages import read_json

    found = (read_json(run / "analysis.json") or {}).get("contrasts", [])
    known = [one for one in found if (one["arm"], one["over"]) == LOOKED_AT]
    if not known:
        raise InputError(
            f"{run} does not say how far its arms spread.",
            got="no contrast of host_twice over host",
            expected="a run of these two arms",
            fix='run CONFIG "arms=[host, host_twice]" "swapped=[]" ames=0',
        )
    return known[0]


if __name__ == "__main__":
    sys.exit(main())
