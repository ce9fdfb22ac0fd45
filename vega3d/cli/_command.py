"""How commands are declared: each by the function that runs it, with its texts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Run = Callable[[argparse.Namespace], int | None]
AddArgument = Callable[..., Any]


class Commands:
    """The commands of a parser.

    Args:
        parser: of argparse.
        kind: of the commands, in messages and in what is parsed.
    """

    def __init__(self, parser: argparse.ArgumentParser, kind: str) -> None:
        parsers = parser.add_subparsers(dest=kind, required=True, metavar=kind.upper())
        self.add_parser: Callable[..., argparse.ArgumentParser] = parsers.add_parser

    def add(self, run: Run, **texts: str) -> AddArgument:
        """Add a command; returns ``add_argument`` of its parser.

        Args:
            run: runs the command and returns its exit code; None is 0. The command has the function's name.
            texts: ``help``, ``description`` and ``epilog``; one of several lines is printed as it stands.
        """
        parser = self._parser(run.__name__.strip("_").replace("_", "-"), **texts)
        parser.set_defaults(run=run)
        return parser.add_argument

    def group(self, name: str, kind: str, **texts: str) -> Commands:
        """Add a command that consists of others."""
        return Commands(self._parser(name, **texts), kind)

    def _parser(self, name: str, **texts: str) -> argparse.ArgumentParser:
        is_raw = "\n" in texts.get("epilog", "")
        formatter = argparse.RawDescriptionHelpFormatter if is_raw else argparse.HelpFormatter
        return self.add_parser(name, formatter_class=formatter, **texts)
