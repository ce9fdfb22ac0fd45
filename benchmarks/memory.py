"""The branch's peak memory by formula, against the measured peak, at the true widths of Wan2.1.

Memory does not depend on the number of blocks but through the weights, so two blocks of random weights are
enough. First with the published VAE, which decides the peak; then with a narrow one, so that the DiT does. It
takes some minutes of one CPU thread, and says nothing about speed.
"""

from __future__ import annotations

import argparse

import torch

import vega3d._utils.torchvision  # noqa: F401  (before diffusers)

# isort: split
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel

from vega3d import WanBackbone, WanConfig
from vega3d.backbones.wan.config import Mode
from vega3d.backbones.wan.cost import branch_memory
from vega3d.backbones.wan.flops import Work
from vega3d.backbones.wan.shapes import DitShape, VaeShape
from vega3d.config import DType
from vega3d.costs.memory import peak_bytes

WIDTHS = {"1.3B": (12, 8960), "14B": (40, 13824)}
# what decides, width of the VAE, width of the DiT, picture, mode, frames, micro-batch, precision
Case = tuple[str, int, str, tuple[int, int], Mode, int, int, DType]
SMALL, LARGE = (480, 272), (832, 480)
CASES: list[Case] = [
    ("VAE", 96, "1.3B", SMALL, "frame", 2, 1, "float32"),
    ("VAE", 96, "1.3B", SMALL, "frame", 3, 2, "float32"),
    ("VAE", 96, "1.3B", LARGE, "frame", 2, 1, "float32"),
    ("VAE", 96, "1.3B", SMALL, "vace_reference", 2, 1, "float32"),
    ("VAE", 96, "1.3B", SMALL, "window", 1, 1, "float32"),
    ("VAE", 96, "1.3B", SMALL, "clip", 9, 1, "float32"),
    ("DiT", 2, "1.3B", SMALL, "frame", 2, 2, "float32"),
    ("DiT", 2, "1.3B", LARGE, "frame", 1, 1, "bfloat16"),
    ("DiT", 2, "1.3B", SMALL, "joint", 3, 1, "float32"),
    ("DiT", 2, "14B", SMALL, "frame", 2, 2, "float32"),
    ("DiT", 2, "14B", SMALL, "frame", 2, 2, "bfloat16"),
]


def backbone(case: Case) -> WanBackbone:
    """Two blocks of true width behind a VAE, with random weights."""
    _, base, size, picture, mode, _, batch, dtype = case
    heads, inner = WIDTHS[size]
    shape = {"num_attention_heads": heads, "attention_head_dim": 128, "ffn_dim": inner, "num_layers": 2}
    kind = WanTransformer3DModel
    if mode.startswith("vace"):
        kind, shape = WanVACETransformer3DModel, {**shape, "vace_layers": [0, 1]}
    config = WanConfig(block=1, mode=mode, resize="center_crop", size=picture, micro_batch=batch, dtype=dtype)
    vae = AutoencoderKLWan(base_dim=base, decoder_base_dim=2)
    return WanBackbone(kind(**shape).to(getattr(torch, dtype)), vae, torch.randn(1, 4096), config)


def both(case: Case) -> tuple[int, int]:
    """Measured and estimated bytes of one call, without the weights and what is computed once."""
    width, height, frames = *case[3], case[5]
    wan = backbone(case)
    clip = torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8)
    wan.hidden_states(torch.zeros(1, 16, 1, height // 8, width // 8))  # what is computed once
    shapes = (DitShape.from_diffusers(wan.dit.config), VaeShape.from_diffusers(wan.vae.config))
    work = Work.of(wan.config, wan.config.frame_plan(range(frames)).runs)
    moments = branch_memory(wan.config, *shapes, (height, width), work, "cpu")
    return peak_bytes(lambda: wan(clip)), max(moments.values())


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(
        "| decides | DiT | picture | mode | frames | micro-batch | precision | measured | formula | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        measured, own = both(case)
        decides, _, size, (width, height), *settings = case
        cells = [decides, size, f"{width} x {height}", *map(str, settings)]
        cells += [f"{measured / 2**20:.0f} MiB", f"{own / 2**20:.0f} MiB", f"{own / measured:.3f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
