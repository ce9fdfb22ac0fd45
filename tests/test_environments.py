"""torchvision absent, shimmed, and after transformers: each in a process of its own."""

from __future__ import annotations

import importlib.machinery
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import media, processors
from vega3d._utils import torchvision as _torchvision

ROOT = Path(__file__).parents[1]

ABSENT = """
import sys
from importlib.machinery import PathFinder

class Without:  # the path finder of an environment where torchvision was never installed
    invalidate_caches = PathFinder.invalidate_caches

    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.split(".")[0] == "torchvision" else PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(*arguments):
        found = PathFinder.find_distributions(*arguments)
        return (one for one in found if one.metadata["Name"].lower() != "torchvision")

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""

USE = """
import sys
from tests import media
from vega3d.processing import Vega3DProcessor

folder = sys.argv[1]
processor = Vega3DProcessor.from_pretrained(folder)

def ask(entry):
    return processor.apply_chat_template([{"role": "user", "content": [entry, "?"]}])

picture = ask({"type": "image", "image": folder + "/photo.png"})
assert picture["generative_clips"][0].frames.shape == (1, 3, 60, 80)
"""


def run(code: str, folder: Path) -> str:
    """The output of a fresh Python process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host's processor, a picture and a video."""
    folder = tmp_path_factory.mktemp("host")
    processors.host_processor().save_pretrained(folder)
    media.photo(80, 60).save(folder / "photo.png")
    media.write_video(folder / "clip.mp4", 6)
    return folder


WITH_A_VIDEO = """
import hashlib
batch = ask({"type": "video", "video": folder + "/clip.mp4", "nframes": 4})
print(batch["input_ids"].tolist(), batch["video_grid_thw"].tolist())
print(hashlib.sha256(batch["pixel_values_videos"].numpy().tobytes()).hexdigest())
"""


def test_without_torchvision_the_host_gets_the_same_inputs_of_a_video(folder: Path) -> None:
    out = run(
        ABSENT
        + USE
        + WITH_A_VIDEO
        + """
from transformers.utils import is_torchvision_available
assert not is_torchvision_available()
from transformers import Trainer, Qwen2_5_VLForConditionalGeneration

frames = [{"type": "image", "image": media.frame(number), "clip": "a"} for number in range(3)]
batch = processor.apply_chat_template([{"role": "user", "content": frames}])
assert [clip.items for clip in batch["generative_clips"]] == [(0, 1, 2)]
assert "torchvision" not in sys.modules
""",
        folder,
    )
    assert out == run(USE + WITH_A_VIDEO, folder)


def test_without_torchvision_ask_answers_about_an_mp4(folder: Path) -> None:
    command = """
import sys
from vega3d.cli.main import main
sys.exit(main(["ask", sys.argv[1] + "/clip.mp4", "How many chairs are there?", "--frames", "4", "--quiet"]))
"""
    assert run(ABSENT + command, folder) == run(command, folder) != ""


def test_with_torchvision_s_wheel_as_it_is_videos_work(folder: Path) -> None:
    out = run(
        USE
        + """
batch = ask({"type": "video", "video": folder + "/clip.mp4", "nframes": 4})
from transformers import Trainer, Qwen2_5_VLForConditionalGeneration
import qwen_vl_utils
print(batch["video_grid_thw"].tolist(), len(batch["generative_clips"][0].frames))
""",
        folder,
    )
    assert out.split() == ["[[2,", "4,", "4]]", "4"]


def test_transformers_may_be_imported_first(folder: Path) -> None:
    first = "import transformers\nfrom transformers import AutoTokenizer, AutoConfig\n"
    video = '\nassert "pixel_values_videos" in ask({"type": "video", "video": folder + "/clip.mp4"})\n'
    run(first + USE + video, folder)


def test_transformers_may_even_have_failed_first(folder: Path) -> None:
    first = """
import transformers
for name in ("Trainer", "Qwen2VLVideoProcessor", "Qwen2_5_VLForConditionalGeneration"):
    try:
        getattr(transformers, name)  # stops at torchvision's operators where its wheel does not fit torch
    except (ImportError, RuntimeError):
        pass
"""
    after = """
assert "pixel_values_videos" in ask({"type": "video", "video": folder + "/clip.mp4"})
transformers.Trainer, transformers.Qwen2_5_VLForConditionalGeneration
"""
    run(first + USE + after, folder)


# --- the shim by itself


def test_the_shim_does_nothing_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(_torchvision, "_library", object())
    assert _torchvision.ensure_torchvision_imports() is False


def test_the_shim_does_nothing_once_torchvision_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_torchvision, "_library", None)
    monkeypatch.setitem(sys.modules, "torchvision", object())
    assert _torchvision.ensure_torchvision_imports() is False


def test_the_shim_does_nothing_without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_torchvision, "_library", None)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(_torchvision.importlib.util, "find_spec", lambda name: None)
    assert _torchvision.ensure_torchvision_imports() is False


def test_the_shim_does_nothing_where_torchvision_loads_its_own_operators(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = importlib.machinery.ModuleSpec("torchvision", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(_torchvision, "_library", None)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(_torchvision.importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(_torchvision, "_loads", lambda folder: True)
    assert _torchvision.ensure_torchvision_imports() is False
    assert _torchvision._library is None


def test_a_library_that_does_not_load_is_noticed(tmp_path: Path) -> None:
    assert _torchvision._loads(tmp_path) is False
    (tmp_path / "_C.so").write_bytes(b"not a library")
    assert _torchvision._loads(tmp_path) is False
