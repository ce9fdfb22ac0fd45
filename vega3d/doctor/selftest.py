"""The shipped tiny models on a fixed clip, against stored numbers.

The clip is integer arithmetic, so it is the same everywhere; the noise is drawn on the CPU from a seed.
Numbers are compared by relative error, not by a hash: another processor, thread count or library adds up in
another order, which moves the last digits (1e-6 of the scale). ``TOLERANCE`` lies far above that, and below
what a wrong setting or a damaged file does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import Qwen2_5_VLForConditionalGeneration

from vega3d._utils import files
from vega3d.adapter import Vega3DAdapter
from vega3d.backbones.wan.backbone import WanBackbone
from vega3d.backbones.wan.config import WanConfig
from vega3d.config import Vega3DConfig
from vega3d.doctor import Check, judged
from vega3d.pico import PICO_DIR, pico_path
from vega3d.processing import Vega3DProcessor

NUMBERS = PICO_DIR / "selftest.json"
SIDE, FRAMES = 112, 4  # no processor has to resize such a picture: resizing differs between libraries
TOLERANCE = 1e-3
SETTINGS = WanConfig(block=20, pixels=SIDE * SIDE)
REPORT = "run `vega3d doctor --json` and report it; until then do not trust results of this installation"


def clip() -> Tensor:
    """(FRAMES, 3, SIDE, SIDE) uint8: a moving ramp, moving rings, and a changing chessboard."""
    t, y, x = torch.meshgrid(*(torch.arange(n) for n in (FRAMES, SIDE, SIDE)), indexing="ij")
    ramp = (2 * x + 3 * y + 9 * t) % 256
    rings = ((x - 40 - 6 * t) ** 2 + (y - 56) ** 2) // 24 % 256
    board = (x // 16 + y // 16 + t) % 2 * 200 + 20
    return torch.stack([ramp, rings, board], dim=1).to(torch.uint8)


@cache
def backbone() -> WanBackbone:
    """The shipped generator, in float32 on the CPU."""
    return WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS, device="cpu")


@cache
def adapter() -> Vega3DAdapter:
    """The shipped host, freshly wrapped, in float32 on the CPU."""
    host = Qwen2_5_VLForConditionalGeneration.from_pretrained(pico_path("host"), dtype=torch.float32)
    return Vega3DAdapter(host.eval(), Vega3DConfig(backbone=SETTINGS), backbone()).eval()


@cache
def features() -> Tensor:
    """(C, FRAMES, h, w) of the clip."""
    return backbone()([clip()])[0].features


@cache
def inputs() -> dict[str, Any]:
    """A question about the clip, given as images: that needs no torchvision."""
    processor = Vega3DProcessor.from_pretrained(pico_path("host"), adapter().vega3d_config, image_only=True)
    content: list[dict[str, Any]] = [{"type": "image", "image": frame, "clip": "a"} for frame in clip()]
    content.append({"type": "text", "text": "How many chairs are there?"})
    messages = [{"role": "user", "content": content}]
    return dict(processor.apply_chat_template(messages))


def logits(model: Any, batch: dict[str, Any]) -> Tensor:
    """(V,) of the token that would come next."""
    with torch.no_grad():
        values: Tensor = model(**batch).logits[0, -1]
    return values


def measure() -> dict[str, list[float]]:
    """Numbers that ``selftest.json`` holds: some values of features, and some logits."""
    vectors = {"features": features().flatten(), "logits": logits(adapter(), inputs())}
    return {
        name: [float(f"{value:.6g}") for value in vector[:: len(vector) // 64].tolist()]
        for name, vector in vectors.items()
    }


def stored_numbers() -> Iterator[Check]:
    """Features and logits against those of the machine that made the release."""
    stored = files.read_json(NUMBERS, "the numbers that are shipped with vega3d")
    for name, values in measure().items():
        expected = torch.tensor(stored[name])
        yield near(name, torch.tensor(values), expected, TOLERANCE, "to the shipped numbers")


def fresh_adapter() -> Iterator[Check]:
    """An untrained adapter gives its host's logits to the bit."""
    name, batch = "a fresh adapter is its host", inputs()
    bare = {key: value for key, value in batch.items() if key != "generative_clips"}
    apart = (logits(adapter(), batch) - logits(adapter().host, bare)).abs().max().item()
    found = f"up to {apart:.1e} apart, expected equal bits" if apart else "equal to the bit"
    yield judged(name, found, apart == 0, REPORT)


def reading_a_video() -> Iterator[Check]:
    """An mp4 is written and decoded."""
    from vega3d.media.decoding import read_frames
    from vega3d.rooms import write_mp4

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_mp4(file, clip().permute(0, 2, 3, 1).numpy(), 4.0)
        frames = read_frames(file, range(FRAMES))
    # H.264 halves the resolution of colours: brightness alone is kept
    gray, expected = (pictures.float().mean(dim=1) for pictures in (frames, clip()))
    yield near("an mp4 written and read", gray, expected, 0.2, "to its frames")


def gpu() -> Iterator[Check]:
    """The generator on a GPU against the CPU, in float32 and in bfloat16."""
    if torch.cuda.is_available():
        yield from on_device("cuda")


def on_device(device: str) -> Iterator[Check]:
    """The generator elsewhere, against the CPU in float32; convolutions there may use TF32."""
    for dtype, tolerance in ((torch.float32, 2e-2), (torch.bfloat16, 0.1)):
        wan = WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS, dtype=dtype, device=device)
        name = f"features on {device}, {str(dtype).removeprefix('torch.')}"
        yield near(name, wan([clip()])[0].features.cpu(), features(), tolerance, "to the CPU")


def near(name: str, values: Tensor, expected: Tensor, tolerance: float, towards: str) -> Check:
    """A check of ‖values - expected‖ / ‖expected‖."""
    error = ((values.double() - expected.double()).norm() / expected.double().norm()).item()
    found = f"relative difference {error:.1e} {towards}, at most {tolerance:.0e}"
    return judged(name, found, error <= tolerance, REPORT)


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (stored_numbers, fresh_adapter, reading_a_video, gpu)
