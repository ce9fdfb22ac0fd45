"""Cost of reading a stored feature: against computing it, and against reading the same bytes plainly.

The store has features of true size (1536 channels on 30 x 52 cells, what Wan2.1 1.3B gives for a picture of
832 x 480), random numbers in bfloat16. Computing cannot be done at true size everywhere, so its time is
reckoned: operations of the branch at the rate of a matrix product, timed here, which flatters it. Bytes come
from the file system's cache in both ways of reading; several readers are processes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vega3d.backbones.wan.config import WanConfig
from vega3d.costs.stored import SHARE, measured_rate
from vega3d.grid import FeatureMap
from vega3d.media.frame_plan import FramePlan
from vega3d.store import FeatureFormat, FeatureKey, FeatureStore
from vega3d.store.feature_store import look_up

CHANNELS, ROWS, COLUMNS = 1536, 30, 52
SIZE = (480, 832)
CLIP = 32  # frames
FORK = multiprocessing.get_context("fork")  # readers start at once, without importing anything


def make(path: Path, form: FeatureFormat, frames: int) -> FeatureStore:
    """A store of single frames of one video."""
    store = FeatureStore.create(path, fingerprint="0" * 64, backbone={"type": "wan"}, form=form)
    with store.writer() as writer:
        for number in range(frames):
            features = torch.randn(CHANNELS, 1, ROWS, COLUMNS)
            writer.add(FeatureKey("sha256:00", (number,), SIZE), FeatureMap(features, ((0,),)))
    return store


def read_clip(store: FeatureStore, first: int) -> None:
    """The work of a data worker for a clip."""
    plan = FramePlan.per_frame(range(first, first + CLIP))
    keys = [FeatureKey("sha256:00", (number,), SIZE) for number in plan.generative]
    look_up(store, plan, keys, "a video")


def read_all(store: FeatureStore, frames: int) -> None:
    """Every clip once."""
    for first in range(0, frames, CLIP):
        read_clip(store, first)


def read_plainly(path: Path) -> None:
    """The same bytes by ``read()``, and nothing else."""
    for file in path.glob("*.safetensors"):
        file.read_bytes()


def reader(path: str, frames: int, plain: bool, barrier: Any, times: Any) -> None:
    """One process: waits for the others, reads, says how long it took."""
    torch.set_num_threads(1)
    store = FeatureStore(path)
    run: Callable[[], None] = (
        (lambda: read_plainly(Path(path))) if plain else (lambda: read_all(store, frames))
    )
    run()
    barrier.wait()
    start = time.perf_counter()
    run()
    times.put(time.perf_counter() - start)


def together(path: Path, frames: int, readers: int, *, plain: bool) -> float:
    """Seconds until the last of several readers is done."""
    barrier, times = FORK.Barrier(readers), FORK.Queue()
    arguments = (str(path), frames, plain, barrier, times)
    processes = [FORK.Process(target=reader, args=arguments) for _ in range(readers)]
    for process in processes:
        process.start()
    slowest = max(times.get() for _ in processes)
    for process in processes:
        process.join()
    return float(slowest)


def readers_table(path: Path, frames: int, most: int, pairs: int) -> list[dict[str, float]]:
    """MB/s of 1..most readers, stored and plain, in interleaved pairs."""
    size = sum(file.stat().st_size for file in path.glob("*.safetensors")) / 1e6
    rows = []
    for readers in range(1, most + 1):
        timed = [
            (together(path, frames, readers, plain=False), together(path, frames, readers, plain=True))
            for _ in range(pairs)
        ]
        ours = statistics.median(stored for stored, _ in timed)
        share = statistics.median(plain / stored for stored, plain in timed)
        rows.append({"readers": readers, "MB/s": readers * size / ours, "share of read()": share})
    return rows


def against_computing(store: FeatureStore, pairs: int) -> dict[str, float]:
    """Seconds to read a clip of 32 frames, and to compute it at the rate of a matrix product."""
    flops = WanConfig("t2v-1.3b").cost(SIZE, CLIP).total
    rate = measured_rate(torch.device("cpu"), torch.float32) / SHARE
    read_clip(store, 0)
    times = []
    for _ in range(pairs):
        start = time.perf_counter()
        read_clip(store, 0)
        times.append(time.perf_counter() - start)
    read, compute = statistics.median(times), flops / rate
    return {"read s": read, "compute s": compute, "share": read / compute, "GFLOP/s": rate / 1e9}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=64, help="frames in the store (default: 64, 307 MB)")
    parser.add_argument("--readers", type=int, default=4, help="most readers at once (default: 4)")
    parser.add_argument("--pairs", type=int, default=5, help="repeats of each pair (default: 5)")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "int8", "float32"))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        store = make(path, FeatureFormat("native", arguments.precision), arguments.frames)
        clip = against_computing(store, arguments.pairs)
        rows = readers_table(path, arguments.frames, arguments.readers, arguments.pairs)
    if arguments.json:
        print(json.dumps({"clip": clip, "readers": rows}))
        return
    print(f"a clip of {CLIP} frames: read in {clip['read s']:.3f} s, computed in {clip['compute s']:,.0f} s")
    print(f"  at {clip['GFLOP/s']:.0f} GFLOP/s of one thread: {clip['share']:.2e} of the time")
    print("readers     MB/s   share of a plain read()")
    for row in rows:
        print(f"{row['readers']:7d} {row['MB/s']:8.0f}   {row['share of read()']:.2f}")


if __name__ == "__main__":
    main()
