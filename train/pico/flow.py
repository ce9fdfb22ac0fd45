"""Train the pico video transformer, a small real `WanTransformer3DModel`, by flow matching on rooms' latents.

    python -m train.pico.latents --cache CLIPS --vae RUN/vae --out LATENTS        # train, and val
    python -m train.pico.flow --latents LATENTS --run RUN/video --kind video --minutes 60
    python -m train.pico.flow --latents LATENTS --run RUN/image --kind image --steps N   # the twin

`--kind image` trains the same network on the same moments as separate single pictures: as many tokens a
step, and nothing to learn from motion. Noise times are logit-normal; the prompt is one token of zeros, so
cross attention is a constant and is computed as one. Killed at any time, it goes on from its last checkpoint.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor
from torch.nn import functional as F

from train.pico.latents import FRAMES, Latents
from train.pico.run import Run, add_options, mixed, shown

TRANSFORMER = {
    "patch_size": (1, 2, 2), "num_attention_heads": 4, "attention_head_dim": 32, "in_channels": 16,
    "out_channels": 16, "text_dim": 64, "freq_dim": 256, "ffn_dim": 256, "num_layers": 24,
    "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 1024,
}  # fmt: skip
LENGTHS, SHARES = (5, 3, 2, 1), (0.6, 0.15, 0.15, 0.1)  # latent frames of a batch's clips
BINS = 10  # of noise times, for the held-out loss


def build(seed: int) -> WanTransformer3DModel:
    """A new transformer; what a block adds starts small, so that 24 blocks begin as few."""
    torch.manual_seed(seed)
    return WanTransformer3DModel(**TRANSFORMER)


def speed_up(model: WanTransformer3DModel, compiled: bool = True) -> None:
    """Replace the blocks' forwards: attention written out, cross attention to one token as a constant.

    `tests/rooms/test_pico_video_training.py` holds the result to the stock model.
    """
    for block in model.blocks:
        block.forward = torch.compile(_block(block), dynamic=False) if compiled else _block(block)


def _block(block: Any) -> Any:
    heads = block.attn1.heads

    def forward(x: Tensor, text: Tensor, time: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        parts = (block.scale_shift_table + time.float()).chunk(6, dim=1)
        shift, scale, gate, shift_2, scale_2, gate_2 = parts
        h = (block.norm1(x.float()) * (1 + scale) + shift).type_as(x)
        x = (x.float() + _attend(block.attn1, h, rotary, heads) * gate).type_as(x)
        x = x + block.attn2.to_out[0](block.attn2.to_v(text[:, :1]))
        h = (block.norm3(x.float()) * (1 + scale_2) + shift_2).type_as(x)
        return (x.float() + block.ffn(h).float() * gate_2).type_as(x)

    return forward


def _attend(attention: Any, x: Tensor, rotary: tuple[Tensor, Tensor], heads: int) -> Tensor:
    q, k = attention.norm_q(attention.to_q(x)), attention.norm_k(attention.to_k(x))
    q, k = (_rotate(t.unflatten(2, (heads, -1)), *rotary).transpose(1, 2) for t in (q, k))
    v = attention.to_v(x).unflatten(2, (heads, -1)).transpose(1, 2)
    scores = (q.to(v.dtype) @ k.to(v.dtype).transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    out = scores.softmax(-1).to(v.dtype) @ v
    return attention.to_out[0](out.transpose(1, 2).flatten(2))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    one, two = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[..., 0::2], sin[..., 1::2]
    return torch.stack([one * cos - two * sin, one * sin + two * cos], dim=-1).flatten(-2)


def velocity(model: WanTransformer3DModel, z: Tensor, t: Tensor) -> Tensor:
    """Predicted velocity, noise minus latents, of noisy z (B, 16, T, h, w) at times t (B,) in 0..1."""
    text = z.new_zeros(len(z), 1, TRANSFORMER["text_dim"])
    out: Tensor = model(z, 1000 * t, text, return_dict=False)[0]
    return out


def noisy(z: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Latents on the straight line to the noise, and the velocity along it."""
    share = t.view(-1, 1, 1, 1, 1)
    return (1 - share) * z + share * noise, noise - z


def draw(latents: Latents, kind: str, batch: int, rng: np.random.Generator) -> Tensor:
    """Latents (b, 16, T, 16, 16) with ``batch`` x 5 frames in all: clips of one length, or single pictures.

    A causal VAE's first T latents are those of a shorter clip; single pictures are among them, as in Wan's
    own training, so that a picture alone is nothing new to the network.
    """
    length = 1 if kind == "image" else int(rng.choice(LENGTHS, p=SHARES))
    chosen = rng.integers(len(latents), size=batch * FRAMES // length)
    if length == 1:  # any moment of the clip, encoded alone
        moments = rng.integers(FRAMES, size=len(chosen))
        return torch.from_numpy(latents.image[chosen, moments]).float()[:, :, None]
    return torch.from_numpy(latents.video[chosen, :length]).float().transpose(1, 2)


@torch.no_grad()
def held_out(
    model: WanTransformer3DModel, latents: Latents, kind: str, constant: Tensor, clips: int = 32
) -> dict[str, list[float]]:
    """Velocity loss per bin of noise times, beside that of the best constant; the same noise every time.

    Args:
        constant: (1, 16, T, h, w) mean of the training latents: the best guess without looking is minus it.
    """
    generator = torch.Generator().manual_seed(1)
    source = latents.video if kind == "video" else latents.image
    z = torch.from_numpy(source[:clips]).float()
    z = z.transpose(1, 2) if kind == "video" else z.flatten(0, 1)[:, :, None]
    result: dict[str, list[float]] = {"loss": [], "constant": []}
    for index in range(BINS):
        t = (index + torch.rand(len(z), generator=generator)) / BINS
        noise = torch.randn(z.shape, generator=generator)
        x, target = noisy(z, t, noise)
        with mixed():
            guess = torch.cat([velocity(model, *pair) for pair in zip(x.split(8), t.split(8), strict=True)])
        result["loss"].append(round(F.mse_loss(guess.float(), target).item(), 4))
        result["constant"].append(round(F.mse_loss(-constant.expand_as(target), target).item(), 4))
    return result


def mean_of(latents: Latents, kind: str) -> Tensor:
    """Mean training latents (1, 16, T, h, w)."""
    source = latents.video if kind == "video" else latents.image
    mean = np.asarray(source[: len(latents)], dtype=np.float32).mean(0)  # (5, 16, h, w)
    if kind == "image":
        mean = mean.mean(0, keepdims=True)
    return torch.from_numpy(mean).transpose(0, 1)[None]


def train(args: argparse.Namespace) -> None:
    """Train until the clock, or the number of steps, says so; write the transformer and what it reached."""
    torch.set_num_threads(args.threads)
    train, val = Latents(args.latents, "train", args.capacity), Latents(args.latents, "val", args.val)
    model = build(args.seed)
    constant = mean_of(train, args.kind)
    before = held_out(model, val, args.kind, constant)["loss"]
    blocks = [p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith("blocks.")]
    run = Run(args.run, {"dit": model}, blocks, args.minutes, args.lr, average=["dit"], steps=args.steps,
              weight_decay=0.01)  # fmt: skip
    print("resumed" if run.load() else "new", f"{model.num_parameters():,} parameters", flush=True)
    speed_up(model, compiled=not args.eager)
    rng = np.random.default_rng([args.seed, run.step])
    losses: list[float] = []
    while run.done < 1:
        with run.timed():
            z = draw(train, args.kind, args.batch, rng)
            t = torch.randn(len(z)).sigmoid()
            x, target = noisy(z, t, torch.randn_like(z))
            with mixed():
                guess = velocity(model, x, t)
            loss = F.mse_loss(guess.float(), target)
            loss.backward()
            run.update()
        losses.append(loss.item())
        if run.step % 100 == 0:
            with run.at_average():
                held = held_out(model, val, args.kind, constant)["loss"]
            line = f"{args.kind} step {run.step} {run.seconds / 60:.1f} min loss {np.mean(losses[-100:]):.4f}"
            print(f"{line} held out {np.mean(held):.4f} {held}", flush=True)
    run.save()
    finish(run, model, val, constant, before, args)


def finish(
    run: Run, model: Any, val: Latents, constant: Tensor, before: list[float], args: argparse.Namespace
) -> None:
    """Save the moving average in bf16 and what it reaches."""
    with run.at_average():
        reached = held_out(model, val, args.kind, constant, clips=len(val))
        reached["untrained"] = before
        whole = {**shown(args), "steps": run.step, "minutes": round(run.seconds / 60, 1), **reached}
        (args.run / "transformer.json").write_text(json.dumps(whole, indent=1))
        saved = build(args.seed)
        saved.load_state_dict(model.state_dict())
        saved.to(torch.bfloat16).save_pretrained(args.run / "transformer", max_shard_size="4MB")
    print(json.dumps(whole), flush=True)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latents", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--kind", choices=["video", "image"], default="video")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=None, help="length in steps instead")
    parser.add_argument("--batch", type=int, default=8)
    add_options(parser)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
