"""How often several builds of one store compute the same run: all begin at once and do not know each other.

    python benchmarks/sharing.py --builds 3 --runs 64 --trials 9

Forks after the imports, so that the builds begin in the same moment; each works on one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vega3d import WanBackbone, WanConfig
from vega3d.cache import EncodeJob, JobPlanner, build
from vega3d.data import media_rows
from vega3d.pico import pico_path
from vega3d.registry import backbone_record
from vega3d.store import FeatureStore

PIXELS = 48 * 48
FORK = multiprocessing.get_context("fork")


def main() -> None:
    """Print each trial, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--builds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--trials", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    wan = WanBackbone.from_pretrained(
        pico_path("wan"), config=WanConfig(path=str(pico_path("wan")), pixels=PIXELS)
    )
    with tempfile.TemporaryDirectory() as folder:
        jobs = jobs_in(Path(folder), wan, options.runs)
        trials = [trial(Path(folder) / str(n), wan, jobs, options.builds) for n in range(options.trials)]
    for computed, seconds in trials:
        print(f"{sum(computed):4} computed {sorted(computed)} in {seconds:.1f} s")
    totals, times = [sum(computed) for computed, _ in trials], [seconds for _, seconds in trials]
    print(f"median {statistics.median(totals)} computed for {options.runs}, {statistics.median(times):.1f} s")


def jobs_in(folder: Path, wan: WanBackbone, count: int) -> list[EncodeJob]:
    """One run for each of ``count`` pictures of noise."""
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    rows = media_rows([str(folder / f"{number}.png") for number in range(count)])
    return [job for row in JobPlanner(wan.config).of(rows) for job in row if isinstance(job, EncodeJob)]


def trial(path: Path, wan: WanBackbone, jobs: list[EncodeJob], builds: int) -> tuple[list[int], float]:
    """Runs that each build computed, and the seconds until the last one ended."""
    FeatureStore.create(path, fingerprint=wan.fingerprint(), backbone=backbone_record(wan.config))
    barrier, results = FORK.Barrier(builds), FORK.Queue()
    processes = [FORK.Process(target=work, args=(path, wan, jobs, barrier, results)) for _ in range(builds)]
    start = time.monotonic()
    for process in processes:
        process.start()
    computed = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return computed, time.monotonic() - start


def work(path: Path, wan: WanBackbone, jobs: list[EncodeJob], barrier: Any, results: Any) -> None:
    """One build, begun together with the others."""
    store = FeatureStore(path)
    barrier.wait()
    results.put(build(store, wan, jobs).computed)


if __name__ == "__main__":
    main()
