"""Builds of one store leave each other's runs alone, and no claim outlives its build."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from torch import Tensor

from tests.cache.conftest import jobs_of, store_for
from vega3d import WanBackbone
from vega3d._utils import files
from vega3d.cache import EncodeJob, Report, build
from vega3d.cache.build import Claims
from vega3d.store import FeatureStore


def distinct(annotations: Path) -> list[EncodeJob]:
    return list({job.key.digest: job for job in jobs_of(annotations)}.values())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims of live builds hold however slow the machine is."""
    monkeypatch.setattr(sys.modules["vega3d.cache.build"], "is_abandoned", lambda *_, **__: False)


class Waiting:
    """A generator that waits in its first batch until it is let go."""

    def __init__(self, inner: WanBackbone) -> None:
        self.inner, self.begun, self.go = inner, Event(), Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, frames: Sequence[Tensor], plans: Any = None) -> Any:
        self.begun.set()
        assert self.go.wait(120)
        return self.inner(frames, plans)


@pytest.mark.usefixtures("patient")
def test_what_another_build_is_computing_is_left_to_it(
    tmp_path: Path, annotations: Path, wan: WanBackbone
) -> None:
    jobs, path = distinct(annotations), store_for(tmp_path / "store", wan).path
    slow, reports, done = Waiting(wan), list[Report](), list[int]()

    def run(backbone: Any, **options: Any) -> Thread:
        thread = Thread(
            target=lambda: reports.append(
                build(FeatureStore(path), backbone, jobs, batch_frames=1, **options)
            )
        )
        thread.start()
        return thread

    first = run(slow)
    assert slow.begun.wait(120)
    second = run(wan, progress=lambda count, *_: done.append(count))
    while max(done, default=0) < len(jobs) - 1 and second.is_alive():
        time.sleep(0.01)
    assert second.is_alive()  # it waits for the one run that the first is at
    slow.go.set()
    first.join()
    second.join()
    assert [report.computed for report in reports].count(1) == 1
    assert sum(report.computed for report in reports) == len(jobs) == len(FeatureStore(path))


@pytest.mark.usefixtures("patient")
def test_builds_that_begin_at_once_compute_every_run_once(
    tmp_path: Path, annotations: Path, wan: WanBackbone
) -> None:
    jobs, path, reports = distinct(annotations), store_for(tmp_path / "store", wan).path, list[Report]()
    together = Barrier(3)

    def run() -> None:
        store = FeatureStore(path)
        together.wait()
        reports.append(build(store, wan, jobs, batch_frames=4))

    threads = [Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.computed for report in reports) == len(jobs) == len(FeatureStore(path))
    assert not list(path.glob(".*"))


def left_claim(folder: Path, digests: Sequence[str], pid: int, monkeypatch: pytest.MonkeyPatch) -> Claims:
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        claims = Claims(folder)
    claims.file.write_text("\n".join(digests))
    return claims


def test_the_claim_of_a_killed_build_does_not_block(
    tmp_path: Path, annotations: Path, wan: WanBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, store = distinct(annotations), store_for(tmp_path / "store", wan)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    claims = left_claim(store.path, [job.key.digest for job in jobs], ended.pid, monkeypatch)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    assert build(store, wan, jobs).computed == len(jobs)
    store.compact()
    assert not claims.file.exists()


def test_the_claim_of_another_machine_ends_with_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, "machine", lambda: "0123abcd")
        claims = left_claim(tmp_path, ["a", "b"], 1, monkeypatch)
    with Claims(tmp_path, patience=60) as ours:
        assert ours.taken() == {"a", "b"}
        with ours.claiming(["b", "c"]) as free:
            assert free == {"c"}
        os.utime(claims.file, (time.time() - 120,) * 2)
        assert ours.taken() == set()


def test_a_claim_ends_with_an_error_of_its_build(tmp_path: Path) -> None:
    def fail(ours: Claims, other: Claims) -> None:
        with ours.claiming(["a"]):
            assert other.taken() == {"a"}
            raise RuntimeError

    with Claims(tmp_path) as ours, Claims(tmp_path) as other:
        with pytest.raises(RuntimeError):
            fail(ours, other)
        assert other.taken() == set()
    assert not list(tmp_path.iterdir())


def test_a_store_that_takes_no_claims_is_built_all_the_same(
    tmp_path: Path, annotations: Path, wan: WanBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, store = distinct(annotations), store_for(tmp_path / "store", wan)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert build(store, wan, jobs).computed == len(jobs)
