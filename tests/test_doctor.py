"""The doctor finds what is missing or wrong, says what to do, and never falls ill itself."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from train.pico.selftest import main as write_numbers
from vega3d import WanBackbone, doctor
from vega3d.backbones.wan.dit import working_backends
from vega3d.doctor import Check, Report, as_text, examine, libraries, machine, selftest
from vega3d.errors import BackboneError
from vega3d.pico import pico_path

Usage = namedtuple("Usage", "free")


def one(checks: Any) -> Check:
    (found,) = checks
    assert isinstance(found, Check)
    return found


# ---------------------------------------------------------------- libraries


@pytest.mark.parametrize(
    ("requirement", "status", "fix"),
    [
        ("torch>=1.0", "ok", None),
        ("torch>=99", "problem", "pip install 'torch>=99'"),
        ("torch==1.0", "problem", "pip install 'torch==1.0'"),
        ("no-such-library>=2", "problem", "pip install 'no-such-library>=2'"),
    ],
)
def test_a_library_is_held_to_its_requirement(requirement: str, status: str, fix: str | None) -> None:
    found = libraries.against(Requirement(requirement))
    assert (found.status, found.fix) == (status, fix)


def test_every_library_that_vega3d_declares_is_looked_at() -> None:
    declared = {Requirement(text).name for text in libraries.requires("vega3d") if "extra" not in text}
    assert {check.name for check in libraries.required()} == declared


def test_an_old_python_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert one(libraries.python()).status == "ok"
    monkeypatch.setattr(libraries.platform, "python_version", lambda: "3.9.1")
    found = one(libraries.python())
    assert (found.status, found.fix) == ("problem", "make an environment with Python >=3.11")


@pytest.mark.parametrize(
    ("torch_version", "status", "fix"),
    [("2.13.0", "ok", None), ("2.13.0+cpu", "ok", None), ("2.14.1", "problem", "torchvision==0.29.*")],
)
def test_torchvision_has_to_be_the_one_that_belongs_to_torch(
    torch_version: str, status: str, fix: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"torch": torch_version, "torchvision": "0.28.0"}
    monkeypatch.setattr(libraries, "_version", installed.get)
    monkeypatch.setattr(libraries, "requires", lambda name: ["numpy", "torch (==2.13.0)"])
    found = one(libraries.torchvision())
    assert found.status == status
    assert (fix is None) == (found.fix is None)
    assert fix is None or fix in str(found.fix)


def test_without_torchvision_nothing_of_vega3d_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "_version", {"torch": "2.13.0"}.get)
    found = one(libraries.torchvision())
    assert found.status == "note"
    assert "torchvision==0.28.*" in str(found.fix)


def test_what_is_optional_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "_version", lambda name: None)
    found = list(libraries.optional())
    assert {check.status for check in found} == {"note"}
    assert all(check.fix for check in found)


# ---------------------------------------------------------------- machine


@pytest.mark.parametrize(
    ("policy", "gpu", "status"),
    [(None, False, "note"), ("ACTIVE", False, "note"), ("passive", False, "ok"), (None, True, "ok")],
)
def test_spinning_threads_are_noted_where_the_processor_computes(
    policy: str | None, gpu: bool, status: str
) -> None:
    environment = {} if policy is None else {"OMP_WAIT_POLICY": policy}
    assert machine.waiting(environment, gpu).status == status


@pytest.mark.parametrize(
    ("built_for", "driver", "named"),
    [(None, False, None), (None, True, "CUDA build"), ("13.0", True, "CUDA_VISIBLE_DEVICES")],
)
def test_a_gpu_that_torch_does_not_see_is_noted(
    built_for: str | None, driver: bool, named: str | None
) -> None:
    found = machine.without_gpu(built_for, driver)
    assert (found.status == "note") == driver
    assert named is None or named in str(found.fix)


@pytest.mark.parametrize(("free", "status"), [(5 * 2**30, "note"), (500 * 2**30, "ok")])
def test_a_full_disk_is_noted_even_where_the_cache_is_not_made_yet(
    free: int, status: str, tmp_path: Path
) -> None:
    asked: list[Path] = []

    def usage(folder: Path) -> Usage:
        asked.append(folder)
        return Usage(free)

    assert machine.disk(tmp_path / "hub" / "models", usage).status == status
    assert asked == [tmp_path]


def test_the_plain_kernel_runs_everywhere() -> None:
    assert "math" in machine.kernels("cpu")


def features(attention: str | None) -> torch.Tensor:
    config = dataclasses.replace(selftest.SETTINGS, attention=attention, block=1)
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=config, device="cpu")
    return wan([selftest.clip()[:1]])[0].features


@pytest.fixture
def _native_again() -> Iterator[None]:
    """diffusers' choice of a back end holds for the whole process: other tests want the default."""
    yield
    features("native")


@pytest.mark.usefixtures("_native_again")
def test_a_listed_attention_back_end_gives_the_features_of_the_default() -> None:
    expected = features(None)
    apart = {name: (features(name) - expected).abs().max().item() for name in working_backends("cpu")}
    assert len(apart) > 1
    assert max(apart.values()) < 1e-4


def test_back_ends_that_are_missing_or_would_be_downloaded_are_not_listed() -> None:
    names = working_backends("cpu")
    assert "native" in names
    assert not {"flash", "xformers", "sage"} & set(names)
    assert not [name for name in names if name.endswith("_hub")]


def test_this_machine_is_described_without_a_problem() -> None:
    found = {check.name: check for run in machine.CHECKS for check in run()}
    assert {"processor", "memory", "video codecs", "disk"} <= set(found)
    assert not [check for check in found.values() if check.status == "problem"]


# ---------------------------------------------------------------- self-test


def test_the_shipped_models_compute_what_they_did_when_they_were_shipped() -> None:
    found = [check for run in selftest.CHECKS for check in run()]
    assert len(found) >= 4
    assert not [check for check in found if check.status != "ok"]


@pytest.mark.parametrize(
    "change",
    [
        {"block": 19},
        {"sigma": 0.3005},
        {"seed": 1},
        {"noise": "shared"},
        {"schedule": "released"},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_the_shipped_numbers_reject_other_features(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(selftest.SETTINGS, **change)
    other = WanBackbone.from_pretrained(pico_path("wan"), config=config, device="cpu")([selftest.clip()])
    monkeypatch.setattr(selftest, "features", lambda: other[0].features)
    found = {check.name: check.status for check in selftest.stored_numbers()}
    assert found["features"] == "problem"
    assert found["logits"] == "ok"


def test_the_shipped_numbers_reject_other_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "logits", lambda model, given: torch.linspace(-1, 1, 768))
    assert {c.name: c.status for c in selftest.stored_numbers()}["logits"] == "problem"


def test_the_script_that_writes_the_numbers_writes_those_that_are_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "selftest.json"
    monkeypatch.setattr(sys, "argv", ["selftest.py", "--out", str(file)])
    write_numbers()
    made, shipped = (json.loads(path.read_text(encoding="utf-8")) for path in (file, selftest.NUMBERS))
    assert made.keys() == shipped.keys()
    for name, vector in shipped.items():
        assert made[name] == pytest.approx(vector, rel=1e-2, abs=1e-3)


@given(error=st.floats(0, 1), tolerance=st.floats(1e-6, 1), scale=st.floats(1e-3, 1e3))
def test_nearness_is_relative_to_the_scale(error: float, tolerance: float, scale: float) -> None:
    expected = scale * torch.tensor([3.0, 4.0], dtype=torch.float64)
    found = expected + error * expected.norm() * torch.tensor([0.0, 1.0], dtype=torch.float64)
    status = selftest.near("it", found, expected, tolerance, "to it").status
    if abs(error - tolerance) > 1e-9:
        assert status == ("ok" if error < tolerance else "problem")


def test_the_check_of_a_gpu_compares_both_precisions_with_the_cpu() -> None:
    found = list(selftest.on_device("cpu"))
    assert [check.status for check in found] == ["ok", "ok"]
    assert "bfloat16" in found[1].name


# ---------------------------------------------------------------- report


def test_a_check_that_breaks_is_a_problem_and_the_others_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> Any:
        raise BackboneError("It broke.", got="this", expected="that", fix="mend it")
        yield

    def works() -> Any:
        yield Check("the other", "fine")

    monkeypatch.setattr(libraries, "CHECKS", (breaks, works))
    report = examine(["libraries"])
    first, second = report.groups["libraries"]
    assert (first.name, first.status, first.fix) == ("breaks", "problem", "mend it")
    assert "It broke." in first.found
    assert second.status == "ok"
    assert not report.healthy


def test_a_group_that_cannot_be_imported_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vega3d.doctor.machine", None)
    found = one(examine(["machine"]).groups["machine"])
    assert (found.name, found.status) == ("machine", "problem")
    assert found.fix


def test_a_report_is_plain_json_and_readable_text() -> None:
    checks = (Check("a", "1"), Check("b", "2", "note", "do b"), Check("c", "3", "problem", "do c"))
    report = Report({"libraries": checks})
    assert json.loads(json.dumps(report.to_dict()))["libraries"][2]["fix"] == "do c"
    lines = as_text(report).splitlines()
    assert [line.split()[0] for line in lines if ":" in line and "fix" not in line][:3] == [
        "ok",
        "note",
        "PROBLEM",
    ]
    assert [line.strip() for line in lines if "fix:" in line] == ["fix: do b", "fix: do c"]
    assert Report({"libraries": checks[:2]}).healthy


def test_the_doctor_itself_needs_no_torch() -> None:
    code = "import sys, vega3d.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert doctor.GROUPS == ("libraries", "machine", "selftest")
