"""``vega3d chat VIDEO``: a conversation about one clip in a terminal."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator

from vega3d.cli._command import Commands
from vega3d.cli.ask import add_model_options, open_model

EPILOG = "example: vega3d chat room.mp4"
END = ("exit", "quit", "/exit", "/quit")
NEW = "/new"


def add_parser(commands: Commands) -> None:
    """Register the command."""
    chat = commands.add(
        _chat,
        help="talk about a video, in several turns",
        description="Answer questions about a video one after another; later ones may refer to earlier ones. "
        f"{NEW} starts again, an empty line or Ctrl-D ends. Without a terminal each line of standard input "
        "is a question.",
        epilog=EPILOG,
    )
    chat("video", help="a video, a photo, or a folder of frames")
    add_model_options(chat)
    chat("--max-new-tokens", type=int, default=256, metavar="N", help="of an answer (default: 256)")


def _chat(arguments: argparse.Namespace) -> None:
    """Load once; read, answer, print as the words come."""
    pipeline, _ = open_model(arguments)
    chat = pipeline.chat(arguments.video, arguments.frames)
    for question in _questions():
        if question == NEW:
            chat = pipeline.chat(arguments.video, arguments.frames)
            continue
        chat.ask(question, max_new_tokens=arguments.max_new_tokens, stream=_write)
        _write("\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _questions() -> Iterator[str]:
    """Lines of the user until an empty one, a word that ends, or the end of the input."""
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):  # not on Windows
            import readline  # noqa: F401  (arrow keys and history in input)
    while True:
        try:
            line = (input("> ") if is_terminal else next(sys.stdin)).strip()
        except (EOFError, StopIteration):
            return
        if not line or line.lower() in END:
            return
        yield line
