"""Files are written whole, reach the disk before their name does, and a failed write is one typed error."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vega3d._utils import files
from vega3d.errors import CheckpointError, InputError, StoreError, WriteError


def full(part: Path) -> None:
    part.write_bytes(b"half of")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")
    with pytest.raises(WriteError, match="Cannot write"):
        files.write_whole(file, full)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_failed_write_names_the_class_that_its_caller_promises(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No space left"):
        files.write_whole(tmp_path / "a", full, error=CheckpointError)
    with pytest.raises(StoreError, match="No space left"), files.writing(tmp_path, error=StoreError):
        files.write_whole(tmp_path / "a", full)


def test_the_full_disk_of_torch_and_of_safetensors_is_a_write_error(tmp_path: Path) -> None:
    with pytest.raises(WriteError), files.writing(tmp_path / "optimizer.pt"):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
    with pytest.raises(WriteError):
        files.write_whole(tmp_path / "no" / "w", lambda part: save_file({"a": torch.zeros(1)}, part))


def test_another_error_inside_a_write_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), files.writing(tmp_path):
        raise RuntimeError("shapes differ")


def test_bytes_are_synchronised_before_the_rename_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    rename, synchronise = os.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: (steps.append("sync"), synchronise(d))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("rename"), rename(a, b))[1])
    files.write_whole(tmp_path / "a", lambda part: part.write_text("new"))
    assert steps == ["sync", "rename", "sync"]


def test_a_file_system_without_fsync_is_no_error_and_a_broken_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(code: int) -> None:
        def fsync(descriptor: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)
        files.write_whole(tmp_path / "a", lambda part: part.write_text("new"))

    failing(errno.EINVAL)
    with pytest.raises(WriteError, match="Input/output"):
        failing(errno.EIO)


def test_two_writers_with_one_process_id_do_not_share_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[Path] = []

    def nested(part: Path) -> None:
        parts.append(part)
        if len(parts) == 1:
            files.write_whole(tmp_path / "a", nested)
        part.write_text(str(len(parts)))

    monkeypatch.setattr(os, "getpid", lambda: 7)
    files.write_whole(tmp_path / "a", nested)
    assert len(set(parts)) == 2


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 9000)  # more than two chunks
    (tmp_path / "b").write_bytes(bytes(range(256)) * 9000)
    assert files.digest(tmp_path / "a") == files.digest(tmp_path / "b")
    flipped = bytearray((tmp_path / "b").read_bytes())
    flipped[-1] ^= 1
    (tmp_path / "b").write_bytes(flipped)
    assert files.digest(tmp_path / "a") != files.digest(tmp_path / "b")


def old(file: Path, seconds: float = 2 * files.ABANDONED) -> Path:
    os.utime(file, (time.time() - seconds,) * 2)
    return file


def left_by(pid: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        part = files.part_of(folder / "a.json")
    part.touch()
    return part


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_part_of_an_ended_process_is_swept_and_that_of_a_live_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, mine = left_by(ended_process(), tmp_path, monkeypatch), files.part_of(tmp_path / "a.json")
    mine.touch()
    assert files.sweep_parts(tmp_path) == 1
    assert not ended.exists()
    assert mine.exists()


def test_the_part_of_another_machine_is_swept_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = ended_process()
    with monkeypatch.context() as patch:
        patch.setattr(files, "machine", lambda: "0123abcd")
        part = left_by(pid, tmp_path, monkeypatch)
    assert files.sweep_parts(tmp_path) == 0
    old(part)
    assert files.sweep_parts(tmp_path) == 1


def test_the_parts_of_version_0_1_are_swept_when_they_are_old(tmp_path: Path) -> None:
    young, late = tmp_path / f".run.json.{ended_process()}.part", tmp_path / ".report.md.7.part"
    young.touch()
    late.touch()
    old(late)
    assert files.sweep_parts(tmp_path) == 1
    assert young.exists()


def test_sweeping_takes_neither_other_files_nor_folders_nor_a_folder_that_is_not_there(
    tmp_path: Path,
) -> None:
    (tmp_path / ".a.1.part").mkdir()
    (tmp_path / "a.part").touch()
    for entry in tmp_path.iterdir():
        old(entry)
    assert files.sweep_parts(tmp_path) == 0
    assert files.sweep_parts(tmp_path / "none") == 0
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set, and a private file beside it."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "a.mp4").write_text("private")
    (tmp_path / "data" / "clips").mkdir(parents=True)
    (tmp_path / "data" / "clips" / "a.mp4").write_text("public")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "name", ["../private/a.mp4", "clips/../../private/a.mp4", "/etc/passwd", "..", "clips/../..", "a\0b"]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(data: Path, name: str) -> None:
    for follow_links in (False, True):
        with pytest.raises(InputError, match="Invalid path"):
            files.inside(data, name, follow_links=follow_links)


def test_a_name_inside_the_folder_is_its_path_and_need_not_exist(data: Path) -> None:
    assert files.inside(data, "clips/a.mp4") == data / "clips" / "a.mp4"
    assert files.inside(data, "clips/../clips/none.mp4") == data / "clips" / "none.mp4"
    assert files.inside(data, str(data / "clips" / "a.mp4")) == data / "clips" / "a.mp4"
    assert files.inside(data, "..a") == data / "..a"


def test_a_link_inside_the_folder_that_leads_out_is_refused_unless_links_are_followed(data: Path) -> None:
    (data / "clips" / "file.mp4").symlink_to(data.parent / "private" / "a.mp4")
    (data / "clips" / "folder").symlink_to(data.parent / "private")
    (data / "file.mp4").symlink_to(data.parent / "private" / "a.mp4")
    (data / "clips" / "near.mp4").symlink_to("a.mp4")
    for name in ("clips/file.mp4", "clips/folder/a.mp4", "file.mp4"):
        with pytest.raises(InputError, match=r"a link leads to .*private"):
            files.inside(data, name, fix="mend it")
        assert files.inside(data, name, follow_links=True).read_text() == "private"
    assert files.inside(data, "clips/near.mp4").read_text() == "public"


def test_media_may_lie_on_another_disk_behind_a_link_at_the_top(data: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "b.mp4").write_text("far")
    (data / "videos").symlink_to(tmp_path / "disk")
    (tmp_path / "link").symlink_to(data)
    for root in (data, tmp_path / "link"):
        assert files.inside(root, "videos/b.mp4").read_text() == "far"
        assert files.inside(root, str(data / "clips" / "a.mp4")).read_text() == "public"
    with pytest.raises(InputError):
        files.inside(data, "videos/../../private/a.mp4")
    (tmp_path / "disk" / "c.mp4").symlink_to(tmp_path / "private" / "a.mp4")
    with pytest.raises(InputError, match="a link leads to"):
        files.inside(data, "videos/c.mp4")


def test_links_of_a_hub_snapshot_to_its_blobs_are_followed(tmp_path: Path) -> None:
    cache = tmp_path / "datasets--a--b"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots" / "1" / "clips").mkdir(parents=True)
    (cache / "blobs" / "9f").write_text("blob")
    (cache / "snapshots" / "1" / "clips" / "a.mp4").symlink_to("../../../blobs/9f")
    assert files.inside(cache / "snapshots" / "1", "clips/a.mp4").read_text() == "blob"


def test_the_first_of_several_writers_wins_with_and_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("linked", "renamed"):
        for text in ("first", "second"):
            files.write_first(tmp_path / name, lambda part, text=text: part.write_text(text))  # type: ignore[misc]
        assert (tmp_path / name).read_text() == "first"
        monkeypatch.delattr(os, "link", raising=False)
    assert sorted(os.listdir(tmp_path)) == ["linked", "renamed"]
