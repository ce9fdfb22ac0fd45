"""Nothing that one system alone has is needed: reads, links and imports work where it is missing."""

from __future__ import annotations

import ast
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TypeGuard

import psutil
import pytest
import torch

from tests.store.conftest import feature_map, key
from vega3d.evaluation import hub
from vega3d.store import FeatureStore
from vega3d.training import metrics

ROOT = Path(__file__).parents[2] / "vega3d"
NOT_ON_WINDOWS = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "curses"}
NO_CALLS = {
    "os": {
        "preadv", "pread", "pwritev", "pwrite", "fork", "forkpty", "getuid", "geteuid", "getgid", "setsid",
        "getpgid", "killpg", "O_DIRECT", "O_SYNC", "O_DSYNC", "posix_fadvise", "posix_fallocate", "statvfs",
        "sched_getaffinity", "sched_setaffinity", "nice", "chown", "uname", "wait", "waitid", "mkfifo",
        "sendfile", "sysconf", "getloadavg", "fdatasync", "symlink", "fchmod",
    },
    "signal": {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGXFSZ", "SIGCHLD", "alarm", "pause",
               "setitimer", "pthread_sigmask"},
}  # fmt: skip


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def handles_absence(node: ast.AST) -> TypeGuard[ast.Try | ast.With]:
    """True for a `try`, and for `with suppress(ImportError)`."""
    return isinstance(node, ast.Try) or (
        isinstance(node, ast.With) and "ImportError" in ast.unparse(node.items[0])
    )


def test_no_module_is_imported_that_windows_lacks_unless_its_absence_is_handled() -> None:
    found = []
    for file, tree in trees():
        guarded = {id(inner) for node in ast.walk(tree) if handles_absence(node) for inner in node.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in guarded:
                names = (
                    [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                )
                found += [f"{file}: {name}" for name in names if name in NOT_ON_WINDOWS]
    assert not found


def test_no_call_is_made_that_windows_lacks() -> None:
    found = [
        f"{file}:{node.lineno}: {node.value.id}.{node.attr}"
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in NO_CALLS.get(node.value.id, ())
    ]
    assert not found


def test_a_store_is_read_where_the_system_reads_at_no_given_place(
    made: Callable[..., FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("preadv", "pread"):
        monkeypatch.delattr(os, name, raising=False)
    store = made()
    for number in range(12):
        found = store.read([key(number)])
        assert found is not None
        assert torch.equal(found.features, feature_map(number).features)


@pytest.mark.parametrize("missing", [("symlink",), ("symlink", "link")], ids=["hard links", "copies"])
def test_files_beside_unpacked_clips_are_there_without_symbolic_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    snapshot = tmp_path / "snapshot"
    (snapshot / "folder").mkdir(parents=True)
    (snapshot / "test.jsonl").write_text("rows")
    (snapshot / "folder" / "0.txt").write_text("picture")
    shutil.make_archive(str(snapshot / "rooms"), "zip", snapshot / "folder")
    monkeypatch.setattr(hub.constants, "HF_HOME", str(tmp_path / "home"))
    for name in missing:
        monkeypatch.delattr(os, name)
    target = hub.unpacked(snapshot, "owner/name")
    files = {
        str(f.relative_to(target)): f.read_text()
        for f in target.rglob("*.*")
        if f.suffix in (".txt", ".jsonl")
    }
    assert files == {"0.txt": "picture", "folder/0.txt": "picture", "test.jsonl": "rows"}
    assert not any(entry.is_symlink() for entry in target.rglob("*"))


def test_memory_is_counted_without_the_module_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    on_windows = SimpleNamespace(peak_wset=12345)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: on_windows)
    assert metrics.peak_memory(torch.device("cpu")) == 12345.0
