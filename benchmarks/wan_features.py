"""Cost of a generative feature: the published way against ours, in one process, interleaved.

Two paths, both with random weights (cost does not depend on them):

    published   stock diffusers: the 3-D VAE frame by frame, all blocks and the head, the feature by a hook
    ours        WanBackbone on the same pixels: the same function, compared number by number

On a CPU it counts CPU-seconds of one thread and uses a narrow DiT (a true one is measured by the block);
on a GPU (``--device cuda``) milliseconds, with the true 1.3B DiT, in bf16. Ratios are medians of pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import vega3d._utils.torchvision  # noqa: F401  (before diffusers)

# isort: split
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from torch import Tensor

from vega3d import WanBackbone, WanConfig
from vega3d.backbones.frames import schedule
from vega3d.backbones.wan import dit
from vega3d.backbones.wan.flops import Work, wan_flops
from vega3d.backbones.wan.shapes import DitShape, VaeShape
from vega3d.media.frame_plan import frame_plan

NARROW = {"num_attention_heads": 2, "attention_head_dim": 128, "ffn_dim": 1496, "num_layers": 30}
TRUE = {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960, "num_layers": 30}
BLOCK, TEXT = 20, 4096
MODES = ("frame", "window", "joint", "clip", "vace_no_reference", "vace_reference")

Run = Callable[[], Any]


class Clock:
    """CPU-seconds of this process, or milliseconds of a GPU; and the most memory since it was reset."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"
        self.unit = "ms" if self.cuda else "CPU-s"

    def __call__(self, run: Run) -> float:
        """Time of one run."""
        if not self.cuda:
            start = time.process_time()
            run()
            return time.process_time() - start
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))

    def peak(self, run: Run) -> float:
        """GiB of the process (CPU) or of the allocator (GPU) while it runs."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            run()
            return torch.cuda.max_memory_allocated() / 2**30
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        run()
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20


def pairs(clock: Clock, first: Run, second: Run, count: int) -> tuple[float, float, float]:
    """Median of both and of their ratios, run in turn after one of each that is not counted."""
    first(), second()
    times = [(clock(first), clock(second)) for _ in range(count)]
    ratio = statistics.median(a / b for a, b in times)
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times), ratio


def matmul_peak(clock: Clock, device: str, dtype: torch.dtype) -> float:
    """FLOP/s that this machine reaches on one large matrix product."""
    size = 8192 if clock.cuda else 2048
    a, b = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
    best = min(clock(lambda: a @ b) for _ in range(10))
    return 2 * size**3 / (best / 1000 if clock.cuda else best)


# ---------------------------------------------------------------- the published way


class Published:
    """One frame through stock diffusers, as the research code runs it."""

    def __init__(self, model: Any, vae: Any, prompt: Tensor) -> None:
        self.model, self.vae = model, vae
        self.prompt = torch.nn.functional.pad(prompt, (0, 0, 0, dit.TEXT_LENGTH - len(prompt)))[None]
        self.kept: Tensor | None = None

    def _keep(self, module: Any, inputs: Any, output: Tensor) -> None:
        self.kept = output

    def __call__(self, pictures: Tensor, noise: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] and noise (N, 16, 1, h, w) to (N, L, C)."""
        return torch.cat([self.one(p[None], e[None]) for p, e in zip(pictures, noise, strict=True)])

    def one(self, picture: Tensor, noise: Tensor) -> Tensor:
        """A single frame."""
        timestep, sigma = schedule(0.3, "exact")
        mean = self.vae.encode((picture * 2 - 1).unsqueeze(2)).latent_dist.mode()
        shift, spread = (
            torch.tensor(self.vae.config[name]).view(1, -1, 1, 1, 1).to(mean)
            for name in ("latents_mean", "latents_std")
        )
        noisy = (1 - sigma) * (mean - shift) / spread + sigma * noise
        handle = self.model.blocks[BLOCK].register_forward_hook(self._keep)
        weight = self.model.patch_embedding.weight
        clock = torch.tensor([timestep], device=weight.device)
        self.model(noisy.to(weight.dtype), clock, self.prompt.to(weight), return_dict=False)
        handle.remove()
        assert self.kept is not None
        return self.kept


def build(
    shape: dict[str, int], device: str, dtype: torch.dtype, config: WanConfig
) -> tuple[Any, WanBackbone]:
    """Both ways over one set of random weights."""
    torch.manual_seed(0)
    with torch.device(device):
        stock, vae = WanTransformer3DModel(**shape), AutoencoderKLWan()
    stock = stock.to(dtype).eval().requires_grad_(False)
    vae = vae.eval().requires_grad_(False)
    prompt = torch.randn(1, TEXT, device=device)
    with torch.device("meta"):
        own = WanTransformer3DModel(**{**shape, "num_layers": BLOCK + 1})
    state = {name: t for name, t in stock.state_dict().items() if name in own.state_dict()}
    own.load_state_dict(state, assign=True)
    own.rope = stock.rope  # its tables are buffers that no state dict holds
    return Published(stock, vae, prompt), WanBackbone(own, vae, prompt, config).to(device)


# ---------------------------------------------------------------- tables


def same_pixels(
    clock: Clock, arguments: argparse.Namespace, dtype: torch.dtype, peak: float
) -> list[dict[str, Any]]:
    """Published against ours on pictures of the tower's size."""
    rows = []
    shape = TRUE if clock.cuda else NARROW
    for width, height in arguments.sizes:
        config = WanConfig(block=BLOCK, dtype=_name(dtype))  # type: ignore[arg-type]
        published, ours = build(shape, arguments.device, dtype, config)
        pictures = torch.rand(arguments.batch, 3, height, width, device=arguments.device)
        noise = torch.randn(arguments.batch, 16, 1, height // 8, width // 8, device=arguments.device)
        theirs: Run = lambda p=published, x=pictures, e=noise: p(x, e)  # noqa: E731
        mine: Run = lambda o=ours, x=pictures, e=noise: o.hidden_states(o.latents(x), noise=e)[BLOCK]  # noqa: E731
        difference, scale = (theirs() - mine()).abs().max().item(), theirs().abs().max().item()
        a, b, ratio = pairs(clock, theirs, mine, arguments.pairs)
        shapes = DitShape.from_diffusers(ours.dit.config), VaeShape.from_diffusers(ours.vae.config)
        work = Work.of(config, [(position,) for position in range(arguments.batch)])
        counted = wan_flops(config, *shapes, (height, width), work)
        flops = sum(counted.values()) - counted["condition"]  # what is kept is not computed again
        rows.append(
            {
                "what": f"{width}x{height}, {arguments.batch} frame(s)",
                "published": a / arguments.batch,
                "ours": b / arguments.batch,
                "ratio": ratio,
                "difference": difference / scale,
                "GiB published": clock.peak(theirs),
                "GiB ours": clock.peak(mine),
                "share of peak": flops / (b / 1000 if clock.cuda else b) / peak,
            }
        )
    return rows


def one_block(clock: Clock, arguments: argparse.Namespace, dtype: torch.dtype, peak: float) -> dict[str, Any]:
    """A block of the true 1.3B width on 1,560 tokens: diffusers' own forward against ours."""
    torch.manual_seed(0)
    with torch.device(arguments.device):
        model = WanTransformer3DModel(**{**TRUE, "num_layers": 1})
    model = model.to(dtype).eval().requires_grad_(False)
    block, prompt = model.blocks[0], torch.randn(1, TEXT, device=arguments.device)
    for parameter in (block.scale_shift_table, *block.attn2.to_out[0].parameters()):
        torch.nn.init.normal_(parameter, std=0.02)
    latents = torch.randn(arguments.batch, 16, 1, 60, 104, device=arguments.device)
    full = dit.embed_condition(model, prompt, 300.0)
    own = dit.block_constants(
        block, dit.embed_condition(model, prompt, 300.0, ("one_token",)), ("one_token",)
    )
    stream = dit.embed_patches(model, latents, torch.float32)
    rotary, ours_rotary = model.rope(latents), dit.positions(model, latents)
    text = full.text[None].expand(arguments.batch, -1, -1)
    plain = stream.to(dtype)
    theirs: Run = lambda: block(plain, text, full.modulation[None], rotary)  # noqa: E731
    mine: Run = lambda: dit.run_block(block, stream, own, ours_rotary)  # noqa: E731
    difference, scale = (theirs() - mine()).abs().max().item(), theirs().abs().max().item()
    a, b, ratio = pairs(clock, theirs, mine, 3 * arguments.pairs)
    compiled: dict[str, Any] = {}
    if arguments.compile:
        run_block = torch.compile(dit.run_block)
        faster: Run = lambda: run_block(block, stream, own, ours_rotary)  # noqa: E731
        compiled = {"torch.compile of ours": pairs(clock, mine, faster, 3 * arguments.pairs)[2]}
    tokens, wide = stream.shape[1], stream.shape[2]
    flops = 2.0 * arguments.batch * (tokens * (5 * wide**2 + 2 * wide * 8960) + 2 * tokens**2 * wide)
    return {
        "what": f"one block, width {wide}, {tokens} tokens",
        "published": a,
        "ours": b,
        "ratio": ratio,
        "difference": difference / scale,
        "share of peak": flops / (b / 1000 if clock.cuda else b) / peak,
        **compiled,
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def all_modes(clock: Clock, arguments: argparse.Namespace, dtype: torch.dtype) -> list[dict[str, Any]]:
    """Every mode on one clip of decoded frames, for each frame of the host."""
    rows = []
    for mode in MODES:
        shape = {**(TRUE if clock.cuda else NARROW), "num_layers": BLOCK + 1}
        config = WanConfig(block=BLOCK, mode=mode, pixels=arguments.mode_pixels, dtype=_name(dtype))  # type: ignore[arg-type]
        torch.manual_seed(0)
        with torch.device(arguments.device):
            vae = AutoencoderKLWan()
            if mode.startswith("vace"):
                model = WanVACETransformer3DModel(**shape, vace_layers=list(range(0, BLOCK + 1, 2)))
            else:
                model = WanTransformer3DModel(**shape)
        ours = WanBackbone(model.to(dtype), vae, torch.randn(1, TEXT), config).to(arguments.device)
        host = range(0, 4 * arguments.mode_frames, 4)
        plan = frame_plan(config, host)
        frames = torch.randint(0, 256, (len(plan.generative), 3, 480, 832), dtype=torch.uint8)
        run: Run = lambda o=ours, f=frames, p=plan: o(f, p)  # noqa: E731
        run()
        taken = statistics.median(clock(run) for _ in range(arguments.pairs))
        rows.append(
            {
                "what": mode,
                "host frames": arguments.mode_frames,
                "ours": taken / arguments.mode_frames,
                "GiB ours": clock.peak(run),
            }
        )
        del ours, model, vae
    return rows


def show(title: str, rows: list[dict[str, Any]], unit: str) -> None:
    """Print one table."""
    print(f"\n{title}")
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_text(row.get(name)) for name in names] for row in rows]
    heads = [f"{name} [{unit}]" if name in ("published", "ours") else name for name in names]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for line in (heads, ["-" * width for width in widths], *cells):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value if value is not None else "")


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", nargs="+", type=_size, default=[(480, 272), (832, 480)], metavar="WxH")
    parser.add_argument("--batch", type=int, default=None, help="frames in one call (default: 1, GPU 8)")
    parser.add_argument("--pairs", type=int, default=3, help="interleaved pairs (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--mode-frames", type=int, default=None, help="host frames (default: 4, GPU 32)")
    parser.add_argument("--mode-pixels", type=int, default=None, help="(default: 240 * 144, GPU 832 * 480)")
    parser.add_argument("--only", choices=("pixels", "block", "pictures", "modes"), default=None)
    parser.add_argument("--compile", action="store_true", help="also time torch.compile of a block")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    arguments = parser.parse_args()
    cuda = arguments.device == "cuda"
    arguments.batch = arguments.batch or (8 if cuda else 1)
    arguments.mode_frames = arguments.mode_frames or (32 if cuda else 4)
    arguments.mode_pixels = arguments.mode_pixels or (832 * 480 if cuda else 240 * 144)
    torch.set_num_threads(arguments.threads)
    dtype = torch.bfloat16 if cuda else torch.float32
    clock = Clock(arguments.device)
    peak = matmul_peak(clock, arguments.device, dtype)
    name = torch.cuda.get_device_name() if cuda else f"CPU, {arguments.threads} thread(s)"
    print(f"torch {torch.__version__}, {name}, {dtype}, matmul peak {peak / 1e12:.3g} TFLOP/s")
    tables: dict[str, tuple[str, Callable[[], list[dict[str, Any]]]]] = {
        "pixels": ("same pixels, same function, a frame", lambda: same_pixels(clock, arguments, dtype, peak)),
        "block": ("one block at true width", lambda: [one_block(clock, arguments, dtype, peak)]),
        "modes": ("every mode, a host frame", lambda: all_modes(clock, arguments, dtype)),
    }
    figures = {}
    for key, (title, measure) in tables.items():
        if arguments.only in (None, key):
            figures[key] = measure()
            show(title, figures[key], clock.unit)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
