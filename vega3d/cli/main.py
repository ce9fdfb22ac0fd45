"""Entry point of the ``vega3d`` command: finds the command, runs it, turns errors into exit codes.

Exit codes: 0 done, 1 a problem that the message explains, 2 wrong usage, 130 interrupted, 143 terminated
(SIGTERM). Commands are imported after parsing, so that ``--help`` needs no torch.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence

from vega3d._version import __version__
from vega3d.cli._command import Commands
from vega3d.cli._signals import EXIT_CODE, Terminated, terminable
from vega3d.errors import Vega3DError

COMMANDS = (
    *("ask", "chat", "init", "cache", "train", "checkpoint", "eval", "estimate", "doctor", "rooms"),
    *("scenes", "prompt_embedding"),
)
EPILOG = """examples:
  vega3d rooms make --scenes 1 --out out/        render a room to a video
  vega3d ask out/rooms/NAME.mp4 "How many chairs are there?"
  vega3d chat out/rooms/NAME.mp4                 several questions, one after another
  vega3d look out/rooms/NAME.mp4 -o out/look     what the generator sees, where the gate looks

Without --model the tiny shipped models answer ("pico"); they are trained on rooms only.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; imports no torch."""
    parser = argparse.ArgumentParser(
        prog="vega3d",
        description="A Qwen-VL that also sees the features of a frozen video generator.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vega3d {__version__}")
    commands = Commands(parser, "command")
    for name in COMMANDS:
        importlib.import_module(f"vega3d.cli.{name}").add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Without a command it prints the help."""
    parser, words = build_parser(), sys.argv[1:] if argv is None else list(argv)
    if not words:
        parser.print_help()
        return 0
    arguments = parser.parse_args(words)
    try:
        with terminable(), warnings.catch_warnings():
            # Python hides these by default, but whoever runs a command wrote the settings.
            warnings.filterwarnings("default", category=DeprecationWarning, module="vega3d")
            code: int = arguments.run(arguments) or 0
        return code
    except Vega3DError as error:
        print(f"vega3d {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as end:
        word, code = ("terminated", EXIT_CODE) if isinstance(end, Terminated) else ("interrupted", 130)
        print(f"vega3d {arguments.command}: {word}", file=sys.stderr)
        return code
    except BrokenPipeError:  # the reader of our output has gone: `vega3d ... | head`
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
