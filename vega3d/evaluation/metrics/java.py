"""Java programs of pycocoevalcap: the Penn Treebank tokenizer of coco-caption, and METEOR 1.5.

Decision: the jars are those of pycocoevalcap, the pipes are ours. Its own wrappers write into the installed
package, wait for ever, and lose count of lines when a text holds a line break; here every text is one line,
each wait ends, and whatever goes wrong is an `Unavailable` with a reason. Programs are started with fixed
settings and stopped at exit.
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
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType

# Fixed, so that numbers are printed with a decimal point and texts are read as UTF-8 in every locale.
SETTINGS = ("-Xmx2G", "-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")
PTB_TIMEOUT, METEOR_TIMEOUT = 600.0, 120.0  # seconds for one line
# Coco-caption's list: ``-LRB-`` is in capitals while the tokenizer lower-cases, so brackets survive.
_PUNCTUATION = "'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;"
DROPPED = frozenset(_PUNCTUATION.split())
_lock = threading.Lock()
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


class Conversation:
    """A Java program that answers line by line and stays for the next question."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the program)
        try:
            self.process = subprocess.Popen(
                [java(), *SETTINGS, *arguments],
                cwd=folder,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
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

    def ask(self, lines: Sequence[str], expect: int, *, timeout: float, last: bool = False) -> list[str]:
        """Send lines and wait for ``expect`` lines, each at most ``timeout`` seconds.

        Args:
            lines: of text.
            expect: number of lines of the answer.
            timeout: in seconds, for each of them.
            last: nothing is sent afterwards; some programs answer only then.

        Raises:
            Unavailable: the program ended or fell silent.
        """
        given = "".join(line + "\n" for line in lines).encode("utf-8", "replace")
        threading.Thread(target=self._tell, args=(given, last), daemon=True).start()
        received: list[str] = []
        try:
            while len(received) < expect and (answer := self.answers.get(timeout=timeout)) is not None:
                received.append(answer)
        except queue.Empty:
            raise Unavailable(f"Java gave no answer within {timeout:.0f} s") from None
        if len(received) < expect:
            self.errors.seek(0)
            *_, reason = "no message", *self.errors.read().decode("utf-8", "replace").splitlines()
            raise Unavailable(f"Java ended in the middle of the work: {reason[:200]}")
        return received

    def _tell(self, given: bytes, last: bool) -> None:
        assert self.process.stdin is not None
        with suppress(OSError, ValueError):  # it has ended: the reader reports it
            self.process.stdin.write(given)
            self.process.stdin.flush()
            if last:
                self.process.stdin.close()

    def close(self) -> None:
        """Stop the program; may be called again."""
        atexit.unregister(self.close)
        self.process.kill()
        self.process.wait()
        self.errors.close()
        if self.process.stdin is not None:
            with suppress(OSError):  # what was not sent is lost with the program
                self.process.stdin.close()


def ptb_tokenize(sentences: Sequence[str]) -> list[str]:
    """Each text as its tokens, joined by single spaces.

    Raises:
        Unavailable: no Java, no pycocoevalcap, or the tokenizer failed.
    """
    if not sentences:
        return []
    jar = package_file("tokenizer", "stanford-corenlp-3.4.1.jar")
    arguments = ["-cp", jar.name, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    program = Conversation(arguments, jar.parent)
    try:
        lines = program.ask([one_line(s) for s in sentences], len(sentences), timeout=PTB_TIMEOUT, last=True)
    finally:
        program.close()
    return [" ".join(word for word in line.split(" ") if word not in DROPPED) for line in lines]


def meteor(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> tuple[float, list[float]]:
    """(corpus score, score of each candidate), all in 0..1.

    Args:
        references: (n,) lists of at least one text each.
        candidates: (n,) texts.

    Raises:
        Unavailable: no Java, no pycocoevalcap, or the program failed.
    """
    asked = [_question(texts, candidate) for texts, candidate in zip(references, candidates, strict=True)]
    with _lock:
        java()  # named first among what is missing, even if a program is kept
        program = _program(package_file("meteor", "meteor-1.5.jar"))
        try:
            statistics = program.ask(asked, len(asked), timeout=METEOR_TIMEOUT)
            evaluation = " ||| ".join(["EVAL", *statistics])
            answers = program.ask([evaluation], len(asked) + 1, timeout=METEOR_TIMEOUT)
            *each, corpus = [float(answer) for answer in answers]
        except (Unavailable, ValueError) as error:
            program.close()
            _program.cache_clear()
            raise Unavailable(f"METEOR failed: {error}") from None
    return corpus, each


def _question(references: Sequence[str], candidate: str) -> str:
    """The request for one segment; the separator of the protocol is taken out of every text."""
    texts = [one_line(text).replace("|||", "") for text in references]
    return " ||| ".join(["SCORE", *texts, one_line(candidate).replace("|||", "").replace("  ", " ")])


@cache
def _program(jar: Path) -> Conversation:
    return Conversation(["-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"], jar.parent)
