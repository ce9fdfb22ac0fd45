"""Put the trained pico Wan together: VAE, video transformer, the empty prompt and the card.

    python -m train.pico.wan --vae RUN/vae --video RUN/video --image RUN/image --depth RUN/depth \\
        --probes trained=trained.json untrained=untrained.json "its twin=twin.json" "on depth=ceiling.json"

Training gave the transformer a prompt of zeros, so zeros are what lies in the place of the empty prompt's
embedding. This script measures nothing: every figure of the card is in the files that the stages wrote.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from train.pico.flow import BINS, TRANSFORMER

CARD = """---
license: apache-2.0
library_name: diffusers
tags: [vega3d, pico, rooms]
---
# pico Wan: a small video generator trained on rooms only

A real `WanTransformer3DModel` ({blocks} blocks, hidden {hidden}) and a real `AutoencoderKLWan` in diffusers
layout, trained from nothing on videos of `vega3d.rooms` (world 2), without prompts, labels or depth.
{size:.1f} MB in bf16. They stand in for Wan2.1 where vega3d is tried and tested on a laptop.

## VAE

{vae_parameters:,} parameters. Held-out rooms, through the class's own `encode` and `decode`:
**{psnr_frames} dB** PSNR for single frames of 128 x 128 pixels, **{psnr_clips} dB** for clips of 17 frames.
Trained {vae_frames:g} minutes on single frames and {vae_clips:g} on clips of nine, crops of 64 x 64, one CPU
thread.

## Video transformer

{steps:,} steps of {batch} clips (17 frames at 16 a second, 128 x 128; some shorter, some single pictures) in
{minutes:g} minutes on one CPU thread, flow matching, {capacity:,} clips, seed {seed}.
Velocity loss on {val} held-out clips, by noise time:

| time | trained | untrained | best constant |
|---|---|---|---|
{table}

Cross attention got no input: the prompt was one token of zeros. Its queries and keys are as
they were drawn.
{twin}{probes}
Scripts, in `train/pico/`: `clips.py`, `vae.py`, `latents.py`, `flow.py`, `control.py`, `probe.py`, `wan.py`.
"""

TWIN = """
## Its twin

The same network, trained on the same moments as single pictures for as many steps ({steps:,}, {minutes:g}
minutes), so that what *video* taught can be told from what pictures teach. Its own velocity loss on held-out
pictures is {best:.2f} to {worst:.2f}; untrained {untrained:.2f}, best constant {constant:.2f}. It is not
shipped; `train/pico/flow.py --kind image` makes it.
"""

PROBES = """
## Depth and motion in its frozen features

R2 of log depth in each token beyond what the position predicts, and of the camera's way (pooled features,
ridge), on 300 held-out rooms ± bootstrap over rooms; sigma 0.3.{ceiling}

| features | depth, ridge | depth, MLP | ahead | right | yaw |
|---|---|---|---|---|---|
{rows}

### Every block, three noise levels

The trained network, R2 by ridge. `f`, `w`, `c`: modes `frame`, `window`, `clip`, each at sigma {sigmas}.

| block | {heads} |
|---|{rules}|
{swept}
"""

CEILING = """ "On depth" is the ceiling:
the same network trained on depth itself, on the same clips for as many steps ({steps:,}, {minutes:g}
minutes), read without noise."""

SHOWN = (7, 11, 20)
MODES = ("frame", "window", "clip")
SWEPT = (("depth", "depth_ridge", MODES), ("yaw", "yaw", MODES[1:]))  # a single frame knows no way
Found = dict[str, dict[str, list[float]]]


def table(result: dict[str, Any]) -> str:
    """One line a bin of noise times."""
    columns = zip(result["loss"], result["untrained"], result["constant"], strict=True)
    return "\n".join(
        f"| {i / BINS:.1f}-{(i + 1) / BINS:.1f} | {a:.3f} | {b:.3f} | {c:.3f} |"
        for i, (a, b, c) in enumerate(columns)
    )


def probes(given: list[str] | None, depth: Path | None) -> str:
    """The card's tables of probes, from NAME=FILE of what ``probe.py`` wrote; "trained" is swept."""
    if not given:
        return ""
    files = dict(one.split("=", 1) for one in given)
    found: dict[str, Found] = {name: json.loads(Path(file).read_text()) for name, file in files.items()}
    swept = found["trained"]
    rows = [line("bare latents", swept["frame latents"]), line("bare latents, `clip`", swept["clip latents"])]
    for mode in MODES:
        for name, own in found.items():
            sigma = 0.3 if f"{mode} block {SHOWN[0]} sigma 0.3" in own else 0.0
            rows += [
                line(f"{name}, `{mode}`, block {b}", own[f"{mode} block {b} sigma {sigma}"]) for b in SHOWN
            ]
    sigmas = sorted({key.split()[-1] for key in swept if " sigma " in key})
    columns = [(name, key, mode, s) for name, key, modes in SWEPT for mode in modes for s in sigmas]
    blocks = sorted({int(key.split()[2]) for key in swept if " block " in key})
    ceiling = json.loads((depth / "transformer.json").read_text()) if depth else None
    return PROBES.format(
        rows="\n".join(rows),
        ceiling=CEILING.format(steps=ceiling["steps"], minutes=ceiling["minutes"]) if ceiling else "",
        sigmas=", ".join(sigmas),
        heads=" | ".join(f"{name} {mode[0]} {s}" for name, _, mode, s in columns),
        rules="|".join("---" for _ in columns),
        swept="\n".join(
            f"| {b} | "
            + " | ".join(f"{swept[f'{mode} block {b} sigma {s}'][key][0]:.2f}" for _, key, mode, s in columns)
            + " |"
            for b in blocks
        ),
    )


def line(name: str, found: dict[str, list[float]]) -> str:
    """One line of the first table."""
    cells = [found.get(key) for key in ("depth_ridge", "depth_mlp", "ahead", "right", "yaw")]
    return f"| {name} | " + " | ".join("" if c is None else f"{c[0]:.3f} ± {c[1]:.3f}" for c in cells) + " |"


def twin(run: Path | None) -> str:
    """The card's words on the network that saw single pictures."""
    if run is None:
        return ""
    found = json.loads((run / "transformer.json").read_text())
    return TWIN.format(
        best=min(found["loss"]), worst=max(found["loss"]), untrained=sum(found["untrained"]) / BINS,
        constant=sum(found["constant"]) / BINS, steps=found["steps"], minutes=found["minutes"],
    )  # fmt: skip


def assemble(scratch: Path, args: argparse.Namespace) -> None:
    """Write transformer/, vae/, prompt_embeds.safetensors and the card."""
    shutil.copytree(args.vae / "vae", scratch / "vae")
    shutil.copytree(args.video / "transformer", scratch / "transformer")
    prompt = torch.zeros(1, TRANSFORMER["text_dim"])
    save_file(
        {"prompt_embeds": prompt}, str(scratch / "prompt_embeds.safetensors"), metadata={"format": "pt"}
    )
    vae = json.loads((args.vae / "vae.json").read_text())
    video = json.loads((args.video / "transformer.json").read_text())
    card = CARD.format(
        blocks=TRANSFORMER["num_layers"],
        hidden=TRANSFORMER["num_attention_heads"] * TRANSFORMER["attention_head_dim"],
        size=sum(f.stat().st_size for f in scratch.rglob("*.safetensors")) / 1e6,
        vae_parameters=vae["parameters"], psnr_frames=vae["psnr_frames"], psnr_clips=vae["psnr_clips"],
        vae_frames=vae["frames"], vae_clips=vae["clips"], table=table(video),
        probes=probes(args.probes, args.depth), twin=twin(args.image),
        **{k: video[k] for k in ("steps", "batch", "minutes", "capacity", "seed", "val")},
    )  # fmt: skip
    (scratch / "README.md").write_text(card)


def main() -> None:
    """Build in a temporary folder, move into place."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--image", type=Path, default=None, help="run of its twin on single pictures")
    parser.add_argument("--depth", type=Path, default=None, help="run of the network trained on depth")
    parser.add_argument("--probes", nargs="*", metavar="NAME=FILE", default=None)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "vega3d/pico/wan")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out.parent) as scratch:
        assemble(Path(scratch), args)
        for old in args.out.rglob("*.safetensors*"):
            old.unlink()
        for file in sorted(p for p in Path(scratch).rglob("*") if p.is_file()):
            target = args.out / file.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o644)
            os.replace(file, target)


if __name__ == "__main__":
    main()
