"""Train the pico VAE: a tiny real `AutoencoderKLWan` on clips of rooms.

    python -m train.pico.clips --cache CLIPS --split val --clips 60 --capacity 160
    python -m train.pico.clips --cache CLIPS --split train --clips 3000     # may go on beside training
    python -m train.pico.vae --cache CLIPS --run RUN --frames 35 --clips 45 # minutes of each phase

Two phases. First single frames, where a causal kernel meets nothing but zeros before its last slice and is
a 2-D convolution, five times cheaper. Then clips of nine frames, for which the slices of earlier frames and
the convolutions over time start as zeros and as means: the network begins as the one that it was. Every third
batch of this phase is single frames again.
Killed at any time, it goes on from its last checkpoint.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResample
from torch import Tensor, nn
from torch.nn import functional as F

from train.pico.clips import Clips
from train.pico.run import Run, add_options, mixed, shown

VAE = {"base_dim": 16, "decoder_base_dim": 16, "z_dim": 16, "num_res_blocks": 1}
CROP, KL = 64, 1e-5
PHASES = {"frames": (1, 8), "clips": (9, 2)}  # frames of a clip, clips of a batch


def build(seed: int) -> AutoencoderKLWan:
    """A new VAE that treats a clip as separate frames: means over time, nothing from earlier frames."""
    torch.manual_seed(seed)
    model = AutoencoderKLWan(**VAE)
    with torch.no_grad():
        for name, module in model.named_modules():
            if not isinstance(module, WanCausalConv3d):
                continue
            if name.endswith("time_conv"):
                _identity_over_time(module)
            else:
                module.weight[:, :, :-1] = 0.0
    return model


def _identity_over_time(conv: nn.Conv3d) -> None:
    """A convolution over three frames that keeps their mean (going down) or repeats the last (going up)."""
    width = conv.in_channels
    conv.weight.zero_()
    conv.bias.zero_()
    eye = torch.eye(width)
    for part in range(conv.out_channels // width):
        rows = conv.weight[part * width : (part + 1) * width]
        if conv.stride[0] == 2:
            rows[:, :, :, 0, 0] = eye[:, :, None] / 3
        else:
            rows[:, :, -1, 0, 0] = eye


def whole_clip(model: AutoencoderKLWan) -> None:
    """Replace forwards so that encoder and decoder take all frames at once, without their caches.

    The class goes through a clip in pieces; over the whole clip the same causal convolutions give the same
    numbers. `tests/rooms/test_pico_video_training.py` holds the two to each other.
    """
    for module in model.modules():
        if isinstance(module, WanCausalConv3d):
            module.forward = _causal(module)
        elif isinstance(module, WanResample):
            module.forward = _resample(module)


def _causal(conv: WanCausalConv3d) -> Any:
    def forward(x: Tensor) -> Tensor:
        if x.shape[2] > 1 or conv.stride[0] > 1:
            return nn.Conv3d.forward(conv, F.pad(x, conv._padding))
        weight, pad = conv.weight[:, :, -1], (conv._padding[2], conv._padding[0])
        return F.conv2d(x.squeeze(2), weight, conv.bias, conv.stride[1:], pad)[:, :, None]

    return forward


def _resample(layer: WanResample) -> Any:
    def forward(x: Tensor) -> Tensor:
        if layer.mode == "upsample3d" and x.shape[2] > 1:
            first, later = x[:, :, :1], x[:, :, 1:]  # the first frame stays one; its past is not looked at
            later = layer.time_conv(later).unflatten(1, (2, -1)).movedim(1, 3).flatten(2, 3)
            x = torch.cat([first, later], dim=2)
        b, _, t, _, _ = x.shape
        x = layer.resample(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (b, t)).transpose(1, 2)
        if layer.mode == "downsample3d" and x.shape[2] > 1:
            x = torch.cat([x[:, :, :1], layer.time_conv(x)], dim=2)
        return x

    return forward


def reconstruct(model: AutoencoderKLWan, x: Tensor, sample: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Clips (B, 3, T, H, W) in [-1, 1] -> reconstruction, mean and log-variance of the latents."""
    mean, logvar = model.quant_conv(model.encoder(x)).chunk(2, dim=1)
    logvar = logvar.clamp(-30.0, 20.0)
    z = mean + torch.randn_like(mean) * (0.5 * logvar).exp() if sample else mean
    return model.decoder(model.post_quant_conv(z)), mean, logvar


def loss_of(y: Tensor, x: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """Training loss and the squared error inside it."""
    y, mean, logvar = y.float(), mean.float(), logvar.float()
    squared = F.mse_loss(y, x)
    divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    return 4 * squared + 0.25 * F.l1_loss(y, x) + KL * divergence, squared


def draw(clips: Clips, length: int, batch: int, rng: np.random.Generator) -> Tensor:
    """Random crops (batch, 3, length, CROP, CROP) in [-1, 1], mirrored half of the time."""
    out = []
    for index in rng.integers(len(clips.lines), size=batch):
        t = int(rng.integers(clips.pixels.shape[1] - length + 1))
        row, column = rng.integers(clips.pixels.shape[2] - CROP + 1, size=2)
        crop = np.asarray(clips.pixels[index, t : t + length, row : row + CROP, column : column + CROP])
        out.append(crop[:, :, ::-1] if rng.random() < 0.5 else crop)
    return picture(np.stack(out))


def picture(frames: np.ndarray) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float (B, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).float() / 127.5 - 1


def psnr(squared: float) -> float:
    """Decibels of a mean squared error of values in [-1, 1]."""
    return 10 * math.log10(4 / squared)


@torch.no_grad()
def held_out(model: AutoencoderKLWan, clips: Clips, length: int, count: int = 24) -> float:
    """PSNR in dB over whole held-out frames, or clips of ``length`` frames."""
    total = 0.0
    for index in range(count):
        x = picture(clips.pixels[index : index + 1, :length])
        with mixed():
            y = reconstruct(model, x, sample=False)[0]
        total += float(F.mse_loss(y.float().clamp(-1, 1), x))
    return psnr(total / count)


def phase(name: str, minutes: float, model: AutoencoderKLWan, args: argparse.Namespace) -> None:
    """Train one phase to its end."""
    train, val = Clips(args.cache, "train", args.capacity), Clips(args.cache, "val", args.val)
    while min(train.refresh(), val.refresh()) < 24:
        time.sleep(2)
    inside = [p for n, p in model.named_parameters() if p.ndim > 3 and min(p.flatten(1).shape) >= 16]
    run = Run(args.run / name, {"vae": model}, inside, minutes, args.lr, weight_decay=0.0)
    print(name, "resumed" if run.load() else "new", f"step {run.step}", flush=True)
    rng = np.random.default_rng([args.seed, PHASES[name][0], run.step])
    forward = reconstruct if args.eager else torch.compile(reconstruct, dynamic=False)
    errors: list[float] = []
    while run.done < 1:
        kind = "frames" if run.step % 3 == 2 else name
        with run.timed():
            x = draw(train, *PHASES[kind], rng)
            with mixed():
                y, mean, logvar = forward(model, x)
            loss, squared = loss_of(y, x, mean, logvar)
            loss.backward()
            run.update()
        errors.append(squared.item())
        if run.step % 250 == 0:
            held = (
                f"held out: frames {held_out(model, val, 1):.2f} dB, clips {held_out(model, val, 9):.2f} dB"
            )
            line = f"{name} step {run.step} {run.seconds / 60:.1f} min, {psnr(np.mean(errors[-250:])):.2f} dB"
            print(f"{line}, {held}, {train.refresh()} clips", flush=True)
    run.save()


def finish(model: AutoencoderKLWan, args: argparse.Namespace) -> None:
    """Put this VAE's own latent mean and deviation in its config, save it in bf16, measure what was saved."""
    val, train = Clips(args.cache, "val", args.val), Clips(args.cache, "train", args.capacity)
    val.refresh()
    train.refresh()
    latents = []
    with torch.no_grad():
        for index in range(min(200, len(train.lines))):
            x = picture(train.pixels[index : index + 1])
            latents.append(model.quant_conv(model.encoder(x)).chunk(2, dim=1)[0])
    z = torch.cat(latents).movedim(1, -1).flatten(0, -2)  # (N, 16)
    model.register_to_config(
        latents_mean=[round(v, 4) for v in z.mean(0).tolist()],
        latents_std=[round(v, 4) for v in z.std(0).tolist()],
    )
    model.to(torch.bfloat16).save_pretrained(args.run / "vae", max_shard_size="4MB")
    saved = AutoencoderKLWan.from_pretrained(args.run / "vae", torch_dtype=torch.float32)
    result = {"parameters": saved.num_parameters(), **stock_psnr(saved, val), **shown(args)}
    (args.run / "vae.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result))


@torch.no_grad()
def stock_psnr(model: AutoencoderKLWan, clips: Clips) -> dict[str, float]:
    """PSNR of the saved model by the class's own encode and decode, over all held-out clips."""
    errors: dict[str, list[float]] = {"frames": [], "clips": []}
    for index in range(len(clips.lines)):
        for name, length in (("frames", 1), ("clips", 17)):
            x = picture(clips.pixels[index : index + 1, :length])
            y = model.decode(model.encode(x).latent_dist.mean).sample
            errors[name].append(float(F.mse_loss(y, x)))
    return {f"psnr_{name}": round(psnr(float(np.mean(e))), 2) for name, e in errors.items()}


def main() -> None:
    """Parse the command line and train both phases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--frames", type=float, default=35, help="minutes on single frames")
    parser.add_argument("--clips", type=float, default=45, help="minutes on clips")
    add_options(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = build(args.seed)
    whole_clip(model)
    for name, minutes in (("frames", args.frames), ("clips", args.clips)):
        phase(name, minutes, model, args)
    finish(model, args)


if __name__ == "__main__":
    main()
