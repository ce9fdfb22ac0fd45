"""Damaged and hostile media, messages, JSON and YAML: each is accepted or a typed error, soon and in bounds.

Every candidate is made from a valid one, by a random number generator that only ``seed``, kind and number
decide: ``python -m tests.reliability.fuzz --seed 0 --only video/17`` makes and runs one of them again. They
run in a process of their own, which is ended when one takes more than 20 s; its largest resident memory is
read after each.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import os
import random
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 20  # of one candidate
START = 300  # seconds until a process has imported what it needs
MEMORY = 2 * 10**9  # bytes, resident
ROOM = 6 * 2**30  # of addresses beside those after the imports: a bomb must not take the machine with it
SHARES = {"video": 5, "picture": 5, "message": 4, "json": 3, "yaml": 3}
"""Candidates of each kind in 20."""

# --- mutations


def mutated(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """A file with one to four kinds of damage."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        data = dice.choice((flipped, cut, spliced, removed, overwritten, repeated))(data, others, dice)
    return data


def flipped(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """One to 16 bits, more of them near the start, where headers are."""
    changed = bytearray(data or b"\0")
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        changed[int(len(changed) * dice.random() ** dice.choice((1, 4)))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def cut(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """The beginning, or the end."""
    place = dice.randrange(len(data) + 1)
    return data[:place] if dice.random() < 0.8 else data[place:]


def spliced(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """A piece of another file in between, or instead of the end."""
    other = dice.choice(others)
    start, place = dice.randrange(len(other)), dice.randrange(len(data) + 1)
    piece = other[start : start + dice.choice((8, 64, 4096))]
    return data[:place] + piece + dice.choice((data[place:], data[place + len(piece) :], b""))


def removed(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Some bytes from between."""
    place = dice.randrange(len(data) + 1)
    return data[:place] + data[place + dice.choice((1, 4, 100, 5000)) :]


def overwritten(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """A number where headers are, by one that overflows."""
    number = dice.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00FFFFFF, 0x0000FFFF))
    word = number.to_bytes(4, dice.choice(("big", "little")))[: dice.choice((1, 2, 4))]
    place = int(len(data) * dice.random() ** dice.choice((1, 3)))
    return data[:place] + word + data[place + len(word) :]


def repeated(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """A piece many times."""
    place = dice.randrange(len(data) + 1)
    piece = data[place : place + dice.choice((1, 16, 200))]
    return data[:place] + piece * dice.choice((2, 50, 2000)) + data[place:]


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


PLAIN: list[Any] = [
    *(None, True, -1, 0, 1, 2.5, 10**30, -(10**400), 1e308, 1e-308, math.nan, math.inf, -math.inf, 10**9),
    *("", " ", "x", "1", "\0", "\ud800", "\u202e", "ä" * 300, "x" * 5000, "%s%n", "<image>", "<video>"),
    *("<|video_pad|>", "<|image_pad|>", "<|im_end|>", "<|vision_start|><|image_pad|><|vision_end|>"),
    *("../a.mp4", "/dev/zero", "/dev/stdin", "/proc/self/mem", "file:///dev/zero", "pipe.png", "list.mp4"),
    *("http://127.0.0.1:9/a.png", "http://[::1", "ftp://127.0.0.1/a", "data:image/png;base64,AAAA", "data:"),
    *("concat:a.mp4|a.mp4", "a.mp4\0.png", "frames", ".", "/", "odd", "a.png", "a.mp4", "latin.mp4"),
    *([], {}, [None], [[]], {"": ""}, {"url": 5}, ["a.png", "a.mp4"], ["a.png"] * 3, nested(20), nested(200)),
]
KEYS = (
    *("type", "image", "video", "image_url", "url", "path", "base64", "text", "role", "content", "clip"),
    *("marks", "fps", "nframes", "num_frames", "min_frames", "max_frames", "video_start", "video_end"),
    *("sample_fps", "raw_fps", "min_pixels", "max_pixels", "total_pixels", "resized_height", "resized_width"),
    *("images", "videos", "messages", "conversations", "from", "value", "spar_info", "", "nobody"),
)


def hostile(dice: random.Random) -> Any:
    """A value that somebody else's file may hold."""
    return copy.deepcopy(dice.choice(PLAIN))


def changed(tree: Any, dice: random.Random) -> Any:
    """Nested dicts and lists with one to three values replaced, added, removed or doubled."""
    tree = copy.deepcopy(tree)
    for _ in range(dice.choice((1, 1, 2, 3))):
        holders = [(tree, key) for key in _keys(tree)]
        for holder, key in list(_walk(tree)):
            holders.append((holder, key))
        if not holders:
            return hostile(dice)
        holder, key = dice.choice(holders)
        action = dice.random()
        if action < 0.6:
            holder[key] = hostile(dice)
        elif action < 0.75:
            del holder[key]
        elif isinstance(holder, dict):
            holder[dice.choice(KEYS)] = hostile(dice)
        else:
            holder.insert(key, copy.deepcopy(dice.choice(holder)))
    return tree


def _keys(tree: Any) -> list[Any]:
    return list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []


def _walk(tree: Any, depth: int = 8) -> Any:
    for key in _keys(tree) if depth else []:
        for inner in _keys(tree[key]):
            yield tree[key], inner
        yield from _walk(tree[key], depth - 1)


# --- what is valid


def write_media(folder: Path) -> None:
    """Small valid files of every usual kind, and those that hostile values name."""
    import PIL.Image

    from tests import media

    video, picture = folder / "videos", folder / "pictures"
    video.mkdir()
    picture.mkdir()
    media.write_video(video / "a.mp4", 8)
    media.write_video(video / "b.mp4", 6, codec="mpeg4", options={"movflags": "frag_keyframe+empty_moov"})
    media.write_video(video / "a.mkv", 6, codec="mpeg4")
    media.write_video(video / "a.webm", 6, codec="libvpx")
    media.write_video(video / "a.avi", 6, codec="mpeg4")
    media.write_video(video / "a.gif", 5, codec="gif")
    media.write_video(video / "a.ts", 6, fps=25, codec="mpeg2video")
    photo = media.photo(40, 30)
    for name in ("a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff", "a.ppm", "a.jp2"):
        photo.save(picture / name)
    photo.save(picture / "progressive.jpg", progressive=True)
    photo.convert("RGBA").save(picture / "alpha.png")
    PIL.Image.new("I;16", (20, 30)).save(picture / "deep.png")
    photo.convert("P").save(picture / "palette.png", transparency=3)
    photo.save(picture / "packed.tiff", compression="tiff_lzw")
    (folder / "frames").mkdir()
    for number in range(3):
        photo.save(folder / "frames" / f"{number}.png")
    photo.save(folder / "a.png")
    (folder / "a.mp4").write_bytes((video / "a.mp4").read_bytes())
    media.write_video(folder / "latin.mp4", 5, title="Café", metadata_encoding="latin-1")
    (folder / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    os.mkfifo(folder / "pipe.png")
    (folder / "odd").mkdir()
    os.mkfifo(folder / "odd" / "²1.png")


def user(*content: Any) -> dict[str, Any]:
    """A message."""
    return {"role": "user", "content": list(content)}


TEXT = {"type": "text", "text": "What is there?"}
MESSAGES: list[Any] = [
    [user({"type": "image", "image": "a.png", "min_pixels": 3136, "max_pixels": 50176}, TEXT)],
    [user({"type": "video", "video": "a.mp4", "nframes": 4, "max_pixels": 50176}, TEXT)],
    [user({"type": "video", "video": "a.mp4", "fps": 2.0, "min_frames": 2, "max_frames": 8}, TEXT)],
    [user({"type": "video", "video": "a.mp4", "video_start": 0.0, "video_end": 1.0}, TEXT)],
    [user({"type": "video", "video": "frames", "raw_fps": 2.0, "nframes": 2}, TEXT)],
    [user({"type": "video", "video": ["a.png", "a.png"], "sample_fps": 2.0}, TEXT)],
    [user({"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "And here?"})],
    [user({"type": "image", "image": "a.png", "clip": "x", "marks": [{"point": [4, 3], "colour": "red"}]})],
    [user({"type": "image", "image": "a.png", "resized_height": 56, "resized_width": 56}, TEXT)],
    [user(TEXT), {"role": "assistant", "content": "A chair."}, user("And?")],
]
ROWS: list[Any] = [
    {"image": "a.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"}]},
    {"video": "a.mp4", "conversations": [{"from": "human", "value": "<video>\nWhat?"}]},
    {"images": ["a.png", "a.png"], "messages": [user({"type": "image"}, {"type": "image"}, TEXT)]},
    {"video": ["a.png", "a.png"]},
    *({"messages": messages} for messages in MESSAGES),
]
CONFIG: dict[str, Any] = {
    "model": {"host": "pico", "backbone": {"path": "pico", "pixels": 2304}, "fusion": "gated_residual"},
    "recipe": "lora",
    "data": [{"file": "train.json", "root": "media", "weight": 0.5, "sampling": {"nframes": 8}}],
    "lora": {"rank": 8, "alpha": 8, "dropout": 0.0},
    "store": {"path": "features", "only": False},
    "max_length": 512,
    "trainer": {"learning_rate": 1e-4, "max_steps": 100, "output_dir": "out"},
}
YAML = (
    *("a: 2001-99-99\n", "a: " + "9" * 5000 + "\n", "a: !!int x\n", "a: !!timestamp x\n", "a: &a [*a]\n"),
    *("a: !!float x\n", "a: !!python/object/apply:os.getcwd []\n", "? {a: b}\n: c\n", "a: *b\n", "\t- a\n"),
    *(
        "[" * 20_000,
        "a: " + "{b: " * 2000,
        "<<: 5\n",
        "a: !!binary ä\n",
        "- " * 3000,
        "%YAML 9.9\n---\na: 1\n",
    ),
    "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(9)),
)

# --- readers


class Readers:
    """Runs one candidate through everything that reads its kind.

    Args:
        folder: empty; media are made in it, and it becomes the current folder.
    """

    def __init__(self, folder: Path) -> None:
        import vega3d._utils.torchvision  # must run before transformers is imported

        # isort: split
        import vega3d.training.config  # noqa: F401
        from tests import processors
        from vega3d import Vega3DProcessor, WanConfig
        from vega3d.cache import JobPlanner

        os.chdir(folder)
        write_media(folder)
        self.folder = folder
        self.processors = [Vega3DProcessor(processors.host_processor(name)) for name in processors.HOSTS]
        self.needs = JobPlanner(WanConfig(pixels=2304))
        self.files = {
            kind: [(file.suffix, file.read_bytes()) for file in sorted((folder / kind).iterdir())]
            for kind in ("videos", "pictures")
        }

    def run(self, kind: str, dice: random.Random) -> str:
        """``accepted``, or ``typed``; anything else is raised."""
        from vega3d.errors import Vega3DError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                errors = getattr(self, f"_{kind}")(dice)
        except Vega3DError as error:
            errors = [error]
        for error in errors:
            str(error).encode(errors="backslashreplace")
        return "typed" if errors else "accepted"

    def _video(self, dice: random.Random) -> list[Exception]:
        from vega3d.rooms.video import rooms_source

        place = self._damaged("videos", dice)
        rooms_source(place)
        return self._medium("video", place, dice, nframes=2)

    def _picture(self, dice: random.Random) -> list[Exception]:
        return self._medium("image", self._damaged("pictures", dice), dice)

    def _damaged(self, kind: str, dice: random.Random) -> Path:
        suffix, data = dice.choice(self.files[kind])
        others = [data for files in self.files.values() for _, data in files]
        place = self.folder / (
            "candidate" + (suffix if dice.random() < 0.8 else dice.choice((".mp4", ".png")))
        )
        place.write_bytes(mutated(data, others, dice))
        return place

    def _medium(self, kind: str, place: Path, dice: random.Random, **keys: Any) -> list[Exception]:
        from vega3d.data import media_rows

        errors = self._stored(media_rows([str(place)], keys))
        self._processed([user({"type": kind, kind: str(place), **keys}, TEXT)], dice)
        return errors

    def _stored(self, rows: Any) -> list[Exception]:
        from vega3d.cache import Problem
        from vega3d.cache.jobs import decode

        found = [one for row in self.needs.of(rows) for one in row]
        decoded = decode([one for one in found if not isinstance(one, Problem)][:16])
        errors: list[Exception] = [one.error for one in found if isinstance(one, Problem)]
        return errors + [one for one in decoded if isinstance(one, Exception)]

    def _processed(self, messages: Any, dice: random.Random) -> None:
        dice.choice(self.processors).apply_chat_template(messages)

    def _message(self, dice: random.Random) -> list[Exception]:
        messages = changed(dice.choice(MESSAGES), dice)
        self._processed([messages] * 2 if dice.random() < 0.2 else messages, dice)
        return []

    def _json(self, dice: random.Random) -> list[Exception]:
        from vega3d.data import tried_rows

        rows = [changed(dice.choice(ROWS), dice), dice.choice(ROWS)]
        lines = dice.random() < 0.5
        text = "\n".join(json.dumps(row) for row in rows) if lines else json.dumps(rows)
        data = text.encode()
        if dice.random() < 0.4:
            data = mutated(
                data, [data, b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b"[" * 900 + b"]" * 900], dice
            )
        place = self.folder / ("rows.jsonl" if lines else "rows.json")
        place.write_bytes(data)
        return self._stored(tried_rows(place, self.folder if dice.random() < 0.5 else None, {"nframes": 2}))

    def _yaml(self, dice: random.Random) -> list[Exception]:
        import yaml

        from vega3d.training.config import load_config

        text = yaml.safe_dump(CONFIG)
        if dice.random() < 0.5:
            with contextlib.suppress(yaml.YAMLError, RecursionError, ValueError):
                text = yaml.safe_dump(changed(CONFIG, dice))
        if dice.random() < 0.3:
            text = dice.choice((text + dice.choice(YAML), dice.choice(YAML) + text, dice.choice(YAML)))
        data = text.encode(errors="surrogatepass")
        if dice.random() < 0.4:
            data = mutated(data, [data, *(one.encode() for one in YAML)], dice)
        (self.folder / "config.yaml").write_bytes(data)
        load_config(self.folder / "config.yaml").to_dict()
        return []

    def _hang(self, dice: random.Random) -> list[Exception]:
        """For the test of the watchdog."""
        time.sleep(3600)
        return []

    def _bomb(self, dice: random.Random) -> list[Exception]:
        """For the test of the watch over memory."""
        return [Exception(len(b"x" * MEMORY))]


# --- the process that runs them


def work(seed: int) -> None:
    """Run candidates that standard input names, and answer a line for each."""
    answers, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as folder:
        readers = Readers(Path(folder))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            kind, number = line.split()
            Path("/proc/self/clear_refs").write_text("5")  # forget the largest memory
            try:
                outcome = readers.run(kind, random.Random(f"{seed} {kind} {number}"))
            except BaseException as error:
                outcome = f"{type(error).__name__}: {str(error)[:200]!a} {_place(error)}"
            peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
            if peak > MEMORY:
                outcome = f"{peak / 1e9:.1f} GB ({outcome})"
            print(outcome.replace("\n", " "), file=answers, flush=True)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "vega3d" in Path(frame.filename).parts] or frames[-1:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(own[-2:]))


class Worker:
    """The process, started again after a candidate ended it."""

    def __init__(self, seed: int) -> None:
        self.seed, self.process = seed, None

    def run(self, kind: str, number: int) -> str:
        """Outcome of a candidate."""
        if self.process is None:
            words = [sys.executable, "-m", "tests.reliability.fuzz", "--work", "--seed", str(self.seed)]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=sys.stderr, cwd=ROOT, text=True
            )
            if self._line(START) != "ready":
                raise RuntimeError("The process for candidates does not start.")
        self.process.stdin.write(f"{kind} {number}\n")
        self.process.stdin.flush()
        outcome = self._line(SECONDS)
        if outcome is None:
            ended = self.process.poll()
            self.close()
            return f"over {SECONDS} s" if ended is None else f"the process ended ({ended})"
        return outcome

    def _line(self, seconds: float) -> str | None:
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        return line.strip() or None

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def candidates(count: int) -> list[tuple[str, int]]:
    """Kind and number of each candidate, the kinds mixed."""
    cycle = [kind for kind, share in SHARES.items() for _ in range(share)]
    order = [cycle[(7 * place) % len(cycle)] for place in range(len(cycle))]  # 7 and 20 share no factor
    found: Counter[str] = Counter()
    made = []
    for place in range(count):
        kind = order[place % len(order)]
        made.append((kind, found[kind]))
        found[kind] += 1
    return made


def main(count: int, seed: int) -> list[str]:
    """Run candidates and print a table of what became of them.

    Args:
        count: of all kinds together.
        seed: decides all of them.

    Returns:
        A line for each failure: an error that is not typed, more than 20 s, more than 2 GB, or a crash.
    """
    outcomes: Counter[tuple[str, str]] = Counter()
    failures: list[str] = []
    worker = Worker(seed)
    try:
        for kind, number in candidates(count):
            outcome = worker.run(kind, number)
            known = outcome if outcome in ("typed", "accepted") else "failures"
            outcomes[kind, known] += 1
            if known == "failures":
                failures.append(f"{kind}/{number}: {outcome}")
    finally:
        worker.close()
    print("| kind | trials | typed error | accepted | failures |\n|---|---|---|---|---|")
    for kind in SHARES:
        counts = [outcomes[kind, name] for name in ("typed", "accepted", "failures")]
        print(f"| {kind} | {sum(counts)} | {counts[0]} | {counts[1]} | {counts[2]} |")
    for line in failures:
        print(line)
    return failures


def _command() -> int:
    parser = argparse.ArgumentParser(description="Fuzz what reads media, messages, JSON and YAML.")
    parser.add_argument("--count", type=int, default=2000, help="candidates (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="decides all candidates (default: 0)")
    parser.add_argument("--only", metavar="KIND/NUMBER", help="run one again, in this process")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.seed)
        return 0
    if arguments.only:
        kind, number = arguments.only.split("/")
        with tempfile.TemporaryDirectory() as folder:
            print(Readers(Path(folder)).run(kind, random.Random(f"{arguments.seed} {kind} {number}")))
        return 0
    return 1 if main(arguments.count, arguments.seed) else 0


if __name__ == "__main__":
    sys.exit(_command())
