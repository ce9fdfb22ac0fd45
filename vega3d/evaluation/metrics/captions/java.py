"""Programs that run on Java beside us: found, started with fixed settings, bounded in time, stopped at exit.

Decision: the jars are those of pycocoevalcap, the pipes are ours. Its own wrappers write into the installed
package, wait for ever, and lose count of lines when a text holds a line break; here every text is one line,
each wait ends, and whatever goes wrong is an `Unavailable` with a reason.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

# Fixed, so that numbers are printed with a decimal point and texts are read as UTF-8 in every locale.
SETTINGS = ("-Xmx2G", "-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")
# what Java, Python or a tokenizer may take for the end of a line, and what no pipe carries
_BREAKS = re.compile("[\x00\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class Unavailable(Exception):
    """A metric cannot be computed here; the text gives the reason and the remedy."""


def package_file(*parts: str) -> Path:
    """A file of the installed pycocoevalcap.

    Raises:
        Unavailable: the package or the file is not there.
    """
    spec = importlib.util.find_spec("pycocoevalcap")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise Unavailable('pycocoevalcap is not installed: pip install "vega3d[captions]"')
    file = Path(folders[0]).joinpath(*parts)
    if not file.exists():
        raise Unavailable(f"{file.name} is missing from pycocoevalcap: install it again")
    return file


def package_module(name: str) -> ModuleType:
    """A module of the installed pycocoevalcap, imported now.

    Raises:
        Unavailable: the package is not there, or does not load.
    """
    package_file()
    try:
        return importlib.import_module(f"pycocoevalcap.{name}")
    except ImportError as error:
        raise Unavailable(f"pycocoevalcap does not load: {error}") from None


def java() -> str:
    """The path of Java.

    Raises:
        Unavailable: there is none.
    """
    path = shutil.which("java")
    if path is None:
        raise Unavailable("Java is not installed: install a JRE (8 or newer) and put `java` on the PATH")
    return path


def one_line(text: str) -> str:
    """A text as one line: every kind of line break becomes a space."""
    return _BREAKS.sub(" ", text)


def run(arguments: Sequence[str], lines: Sequence[str], *, timeout: float) -> list[str]:
    """Run Java once on lines of text and return the lines that it prints.

    Raises:
        Unavailable: it failed or took longer than ``timeout`` seconds.
    """
    given = "".join(line + "\n" for line in lines).encode("utf-8", "replace")
    try:
        done = subprocess.run(
            [java(), *SETTINGS, *arguments],
            input=given,
            capture_output=True,
            timeout=timeout,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Java gave no answer within {timeout:.0f} s") from None
    except OSError as error:
        raise Unavailable(f"Java could not be started: {error}") from None
    if done.returncode:
        raise Unavailable(f"Java ended with code {done.returncode}: {_last_line(done.stderr)}")
    return done.stdout.decode("utf-8", "replace").split("\n")


class Conversation:
    """A Java program that answers line by line and stays for the next question."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        try:
            self.process = subprocess.Popen(
                [java(), *SETTINGS, *arguments],
                cwd=folder,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise Unavailable(f"Java could not be started: {error}") from None
        self.answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self.close)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.answers.put(line.decode("utf-8", "replace").strip())
        self.answers.put(None)

    def ask(self, lines: Sequence[str], expect: int, *, timeout: float) -> list[str]:
        """Send lines and wait for ``expect`` lines, each at most ``timeout`` seconds.

        Raises:
            Unavailable: the program ended or fell silent; it is then stopped.
        """
        given = "".join(line + "\n" for line in lines).encode("utf-8", "replace")
        threading.Thread(target=self._tell, args=(given,), daemon=True).start()
        received = []
        for _ in range(expect):
            try:
                answer = self.answers.get(timeout=timeout)
            except queue.Empty:
                self.close()
                raise Unavailable(f"Java gave no answer within {timeout:.0f} s") from None
            if answer is None:
                self.close()
                raise Unavailable("Java ended in the middle of the work")
            received.append(answer)
        return received

    def _tell(self, given: bytes) -> None:
        assert self.process.stdin is not None
        with suppress(OSError, ValueError):  # it has ended: the reader reports it
            self.process.stdin.write(given)
            self.process.stdin.flush()

    def close(self) -> None:
        """Stop the program; may be called again."""
        atexit.unregister(self.close)
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with suppress(OSError):  # what was not sent is lost with the program
                self.process.stdin.close()


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _last_line(raw: bytes) -> str:
    return (raw.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1][:200]
