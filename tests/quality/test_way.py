"""The way of a clip, from a file to fused tokens, leads through few files, and these stay small."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import vega3d
from tests.media import write_video
from tests.processing.helpers import user, video
from vega3d import Vega3DAdapter, Vega3DProcessor, WanBackbone, WanConfig
from vega3d.config import HostConfig
from vega3d.hosts.loading import load_host
from vega3d.pico import pico_path
from vega3d.registry import backbone_record
from vega3d.store import FeatureStore

ROOT = Path(vega3d.__file__).parent
WAY = {
    *("processing.py", "adapter.py", "grid.py"),
    *("inputs/messages.py", "inputs/host_processor.py", "inputs/source.py", "inputs/clip.py"),
    *("media/source.py", "media/decoding.py", "media/frame_plan.py"),
    *("store/feature_store.py", "store/format.py"),
    *("hosts/base.py", "hosts/qwen.py"),
    *("backbones/frames.py", "backbones/wan/config.py", "backbones/wan/backbone.py"),
    *("backbones/wan/encoder.py", "backbones/wan/dit.py"),
    *("fusion/encode.py", "fusion/base.py", "fusion/gated_residual.py"),
}
"""Files of which a function gets the clip, or what was made of it."""
SETTINGS = {
    *("hosts/keywords.py", "hosts/forwarding.py", "backbones/base.py", "backbones/frozen.py"),
    *("_utils/checks.py", "_utils/moved.py"),
}
"""Files that are asked on the way for a device, a precision, a micro-batch, or whether a name is valid."""


@contextmanager
def entered() -> Iterator[set[str]]:
    """Files of the package of which a function is called meanwhile."""
    files: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(ROOT):
            files.add(file.relative_to(ROOT).as_posix())

    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)


def test_a_clip_goes_through_22_files_from_its_file_to_fused_tokens(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", frames=8)
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=WanConfig(pixels=64 * 64))
    host = load_host(HostConfig(path=str(pico_path("host"))))
    model = Vega3DAdapter(host, backbone=wan).eval()
    record = backbone_record(wan.spec.config)
    store = FeatureStore.create(tmp_path / "store", fingerprint=wan.fingerprint(), backbone=record)
    processor = Vega3DProcessor.from_pretrained(pico_path("host"), model.vega3d_config, store=store)
    with entered() as files, torch.no_grad():
        batch = processor.apply_chat_template(user(video(str(clip), nframes=4), "How many?"))
        model.encode(**batch)
    assert files - SETTINGS == WAY
    assert len(WAY) <= 22


def test_the_way_of_a_clip_stays_under_3000_statements() -> None:
    assert sum(statements(ROOT / file) for file in WAY) < 3000


def statements(path: Path) -> int:
    """Logical lines without docstrings: a count that wrapping a long line does not change."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    holders = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    documented = sum(1 for node in ast.walk(tree) if isinstance(node, holders) and ast.get_docstring(node))
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree)) - documented
