"""A flipped bit in a run's files is found, a full disk is a typed error, and the same command mends both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk import room_for
from tests.evaluation.run.fakes import Fake, write_benchmark
from tests.evaluation.run.test_runner import SETTINGS, files, run
from vega3d.cli.main import main
from vega3d.errors import ConfigError, InputError, WriteError
from vega3d.evaluation.run.compare import compare
from vega3d.evaluation.run.journal import Journal
from vega3d.evaluation.run.report import write_report
from vega3d.evaluation.run.results import read_result

ABOUT = {**SETTINGS, "data": "one", "frames": 4}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run of three questions about three clips, one of which is broken."""
    run(write_benchmark(tmp_path / "data", 3, 1), tmp_path / "run", Fake(broken=["1"]), settings=ABOUT)
    return tmp_path / "run"


def part(folder: Path) -> Path:
    return folder / "parts" / "0000.jsonl"


STEPS = [pytest.param(7, id="short"), pytest.param(1, id="long", marks=pytest.mark.full)]


def flipped(content: bytes, step: int) -> Iterator[bytes]:
    """Contents with one flipped bit, of each step-th bit."""
    for place in range(0, 8 * len(content), step):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        yield bytes(changed)


def without_sums(folder: Path) -> None:
    """The files as version 0.1 wrote them."""
    lines = [json.loads(line) for line in part(folder).read_text(encoding="utf-8").splitlines()]
    assert all(line.pop("xxh3") for line in lines)
    part(folder).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for name in ("run.json", "result.json"):
        record = json.loads((folder / name).read_text(encoding="utf-8"))
        assert record.pop("xxh3")
        record.pop("samples_xxh3", None)
        (folder / name).write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize("step", STEPS)
def test_no_flipped_bit_of_a_journal_changes_an_answer(finished: Path, step: int) -> None:
    journal = Journal(finished, ABOUT)
    content, whole = part(finished).read_bytes(), journal.answers()
    assert len(whole) == 3
    for changed in flipped(content, step):
        part(finished).write_bytes(changed)
        samples = journal.answers()
        assert samples.items() <= whole.items()
        assert len(samples) == 3 or journal.damaged or not changed.endswith(b"\n")


def test_a_damaged_line_is_named_and_its_question_is_asked_again(finished: Path) -> None:
    before, lines = files(finished), part(finished).read_bytes()
    part(finished).write_bytes(lines.replace(b'"output": "4"', b'"outqut": "4"', 1))
    model = Fake(broken=["1"])
    with pytest.warns(UserWarning, match=r"1 line .* damaged.*0000\.jsonl line 1"):
        run(finished.parent / "data", finished, model, settings=ABOUT)
    assert len(model.asked) == 1
    assert files(finished) == before


def test_a_journal_that_is_whole_again_warns_of_nothing(
    finished: Path, recwarn: pytest.WarningsRecorder
) -> None:
    part(finished).write_bytes(b"noise\n" + part(finished).read_bytes())
    run(finished.parent / "data", finished, Fake(), settings=ABOUT)
    assert not [warning for warning in recwarn if "damaged" in str(warning.message)]


def test_a_line_that_was_cut_by_a_kill_is_no_damage(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    data = write_benchmark(tmp_path / "data")
    run(data, tmp_path / "whole", Fake())
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "cut", Fake(dies=3))
    file = part(tmp_path / "cut")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "cut", Fake(dies=1))
    run(data, tmp_path / "cut", Fake())
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert not [warning for warning in recwarn if "damaged" in str(warning.message)]


def test_a_run_of_version_0_1_without_sums_is_read(finished: Path) -> None:
    before, shown = files(finished), read_result(finished)
    without_sums(finished)
    assert read_result(finished) == shown
    model = Fake()
    run(finished.parent / "data", finished, model, settings=ABOUT)
    assert model.asked == []
    assert files(finished) == before


def test_a_name_that_was_flipped_in_a_journal_without_sums_is_found(finished: Path) -> None:
    without_sums(finished)
    part(finished).write_bytes(part(finished).read_bytes().replace(b'"output"', b'"oupput"', 1))
    assert len(Journal(finished, ABOUT).answers()) == 2


@pytest.mark.parametrize("step", [pytest.param(29, id="short"), *STEPS[1:]])
@pytest.mark.parametrize("name", ["result.json", "samples.jsonl"])
def test_no_flipped_bit_of_a_result_is_reported_or_compared(finished: Path, name: str, step: int) -> None:
    content, (result, rows) = (finished / name).read_bytes(), read_result(finished)
    flips = list(flipped(content, step))
    damaged = 0
    for changed in flips:
        (finished / name).write_bytes(changed)
        try:
            changed_result, changed_rows = read_result(finished)
            assert changed_result.items() >= result.items()
            assert changed_rows == rows
        except InputError:
            damaged += 1
    assert damaged > 0.9 * len(flips)
    (finished / name).write_bytes(content.replace(b"1.0", b"0.0", 1))
    for read in (lambda: write_report(finished), lambda: compare(finished, finished, draws=100)):
        with pytest.raises(InputError, match="damaged"):
            read()
    run(finished.parent / "data", finished, Fake(), settings=ABOUT)  # the same command mends it
    assert (finished / name).read_bytes() == content


@pytest.mark.parametrize("name", ["result.json", "samples.jsonl"])
@pytest.mark.parametrize("content", ["{}", "[1]", "1", "{" * 100_000, "[" * 100_000, '{"task": "vsibench"}'])
def test_a_file_that_is_no_result_is_typed(finished: Path, name: str, content: str) -> None:
    without_sums(finished)
    (finished / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        write_report(finished)


@pytest.mark.parametrize("step", STEPS)
def test_a_flipped_bit_in_the_settings_is_not_taken_for_another_run(finished: Path, step: int) -> None:
    content = (finished / "run.json").read_bytes()
    refused, flips = 0, list(flipped(content, step))
    for changed in flips:
        (finished / "run.json").write_bytes(changed)
        try:
            Journal(finished, ABOUT)
        except ConfigError:
            refused += 1
    assert refused > 0.8 * len(flips)  # the others are blanks
    (finished / "run.json").write_bytes(content.replace(b"fake", b"fqke"))
    with pytest.raises(ConfigError, match=r"run\.json is damaged"):
        Journal(finished, ABOUT)


def run_and_report(data: Path, out: Path) -> None:
    run(data, out, Fake())
    write_report(out)


@pytest.mark.parametrize(
    "name", ["run.json", "parts/0000.jsonl", "samples.jsonl", "result.json", "report.html"]
)
def test_a_full_disk_is_one_typed_error_and_the_same_command_goes_on(tmp_path: Path, name: str) -> None:
    data = write_benchmark(tmp_path / "data", 3, 1)
    run(data, tmp_path / "whole", Fake())
    write_report(tmp_path / "whole")
    size = (tmp_path / "whole" / name).stat().st_size - 1
    with room_for(size), pytest.raises(WriteError, match="Cannot write"):
        run_and_report(data, tmp_path / "cut")
    model, answers = Fake(), (tmp_path / "whole" / "parts" / "0000.jsonl").read_bytes()
    run(data, tmp_path / "cut", model)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert len(model.asked) == 3 - answers[:size].count(b"\n")  # what was answered is kept


def test_a_folder_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="Cannot write"):
        run(write_benchmark(tmp_path / "data"), tmp_path / "file" / "run", Fake())


def test_parts_of_ended_processes_go_and_those_of_live_ones_stay(finished: Path) -> None:
    from vega3d._utils.files import part_of

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        live, gone = (Path(str(part_of(finished / "run.json"))) for _ in range(2))
        live = live.with_name(live.name.replace(f".{os.getpid()}-", f".{process.pid}-"))
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        gone = gone.with_name(gone.name.replace(f".{os.getpid()}-", f".{ended.pid}-"))
        live.touch()
        gone.touch()
        run(finished.parent / "data", finished, Fake(), settings=ABOUT)
        assert (live.exists(), gone.exists()) == (True, False)


def test_a_page_of_several_tasks_is_not_made_of_a_damaged_one(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished / "samples.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"output": "4"', b'"output": "5"', 1))
    assert main(["eval", "report", str(finished.parent)]) == 1
    assert "samples.jsonl: it is damaged" in capsys.readouterr().err
