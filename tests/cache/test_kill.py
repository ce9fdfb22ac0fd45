"""A build that is killed at any moment loses the batch that it was in, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import media
from tests.cache.conftest import jobs_of, store_for
from vega3d import WanBackbone
from vega3d.cache import EncodeJob, build
from vega3d.store import FeatureStore, identify
from vega3d.store.feature_store import Damage

FRAMES = 240
FORK = multiprocessing.get_context("fork")  # a child begins to build at once, without importing anything


class Counting:
    """A generator that writes down every frame that it has computed."""

    def __init__(self, inner: WanBackbone, log: Path) -> None:
        self.inner, self.log = inner, log

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, frames: Sequence[Tensor], plans: Any = None) -> Any:
        maps = self.inner(frames, plans)
        lines = "".join(f"{identify(frame)}\n" for clip in frames for frame in clip)
        with self.log.open("a") as file:
            file.write(lines)  # one write: whole or not at all
        return maps


def run(path: Path, wan: WanBackbone, jobs: list[EncodeJob], log: Path) -> None:
    store = FeatureStore(path)
    build(store, Counting(wan, log), jobs, batch_frames=4)  # type: ignore[arg-type]
    store.compact()


def killed(path: Path, wan: WanBackbone, jobs: list[EncodeJob], log: Path, after: float) -> bool:
    """Start a build, kill it after so many seconds; whether it was still at work."""
    process = FORK.Process(target=run, args=(path, wan, jobs, log))
    process.start()
    time.sleep(after)
    at_work = process.exitcode is None
    assert process.pid is not None
    if at_work:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return at_work


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[EncodeJob]:
    """A folder of different pictures."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "frames").mkdir()
    for number in range(FRAMES):
        media.photo(48, 48, seed=number).save(folder / "frames" / f"{number}.png")
    (folder / "train.jsonl").write_text('{"video": "frames"}')
    return jobs_of(folder / "train.jsonl")


@pytest.mark.parametrize("kills", [3, pytest.param(25, marks=pytest.mark.full)])
def test_a_build_that_is_killed_again_and_again_equals_one_that_was_not(
    tmp_path: Path, wan: WanBackbone, jobs: list[EncodeJob], kills: int
) -> None:
    whole, interrupted = (store_for(tmp_path / name, wan).path for name in ("whole", "interrupted"))
    start = time.monotonic()
    run(whole, wan, jobs, tmp_path / "whole.log")
    share = (time.monotonic() - start) / (kills + 1)
    luck, log, done = random.Random(kills), tmp_path / "interrupted.log", 0
    while done < kills:
        assert killed(interrupted, wan, jobs, log, luck.uniform(0.1, 1.2) * share), "too fast to be killed"
        done += 1
    run(interrupted, wan, jobs, log)

    first, second = FeatureStore(whole), FeatureStore(interrupted)
    assert not [one for one in second.verify() if isinstance(one, Damage)]
    assert first.digests() == second.digests() == {job.key.digest for job in jobs}
    for job in jobs:
        one, other = first.read([job.key]), second.read([job.key])
        assert one is not None
        assert other is not None
        assert torch.equal(one.features, other.features)
    counted = Counter(log.read_text().split())
    assert len(counted) == FRAMES
    assert max(counted.values()) <= 2
