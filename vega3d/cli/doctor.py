"""``vega3d doctor``."""

from __future__ import annotations

import argparse
import json

from vega3d._utils.progress import note
from vega3d.cli._command import Commands


def add_parser(commands: Commands) -> None:
    """Register the command."""
    add = commands.add(
        _doctor,
        help="is everything here, and does it compute what it should?",
        description="Check libraries and machine, and run the shipped tiny models against stored numbers. "
        "Takes less than half a minute, downloads nothing. Exit code 1 means that there is a problem.",
        epilog="example: vega3d doctor --json > report.json   (for a bug report)",
    )
    add("--quick", action="store_true", help="leave out the self-test")
    add("--json", action="store_true", help="print one JSON object")


def _doctor(arguments: argparse.Namespace) -> int:
    """Examine, print."""
    from vega3d.doctor import GROUPS, as_text, examine

    report = examine([name for name in GROUPS if not (arguments.quick and name == "selftest")], say=note)
    print(json.dumps(report.to_dict(), indent=2) if arguments.json else as_text(report))
    return 0 if report.healthy else 1
