"""Build the seeded-random Wan half of pico: real classes, tiny sizes, no training.

    python train/pico_wan.py [--out vega3d/pico/wan] [--seed 0]

Decision: the depth (24 blocks) is real, so that the default feature block 20 exists; the width is what
keeps the folder under 4 MB. Every parameter is drawn from a seeded normal at the scale of its fan-in
(diffusers leaves gains at one and some biases at zero, which would hide a lost or swapped tensor).
These weights know nothing: they exercise the code path, they do not help the host.
"""

from __future__ import annotations

import vega3d._torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import os
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file

TRANSFORMER = {
    "patch_size": (1, 2, 2), "num_attention_heads": 4, "attention_head_dim": 16, "in_channels": 16,
    "out_channels": 16, "text_dim": 64, "freq_dim": 256, "ffn_dim": 128, "num_layers": 24,
    "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 1024,
}  # fmt: skip
VAE = {"base_dim": 8, "decoder_base_dim": 4, "z_dim": 16}

CARD = """---
license: apache-2.0
library_name: diffusers
tags: [vega3d, pico, untrained]
---
# pico Wan: seeded-random, not trained

A tiny `WanTransformer3DModel` ({blocks} blocks, hidden {hidden}) and a tiny `AutoencoderKLWan` in diffusers
layout, with every parameter drawn at random (seed {seed}). {params:,} parameters, bf16, {size:.1f} MB.

They are real classes with real depth, so that the whole path of vega3d runs (default block 20 exists),
but **they have learned nothing**: features from them must not be read as evidence of anything.
`prompt_embeds.safetensors` holds one random vector in the place of the empty prompt's embedding.

Made by `train/pico_wan.py --seed {seed}`. A pair trained on rooms replaces it later.
"""


def randomise(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter anew: gains around 1, biases around 0, weights by fan-in."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "gamma" in name or ("norm" in name and name.endswith("weight")):
            value = 1 + 0.1 * noise
        elif "scale_shift_table" in name:
            value = 0.3 * noise
        elif parameter.ndim <= 1:
            value = 0.05 * noise
        else:
            value = noise / parameter[0].numel() ** 0.5
        parameter.data.copy_(value)


def blobs(n: int, generator: torch.Generator) -> torch.Tensor:
    """(n, 3, 1, 128, 128) smooth random pictures in [-1, 1], to measure the latent statistics on."""
    coarse = torch.rand(n, 3, 8, 8, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, 128, mode="bilinear")[:, :, None]


def set_latent_statistics(vae: AutoencoderKLWan, generator: torch.Generator) -> None:
    """Put this VAE's own latent mean and deviation in its config: Wan's would leave a near-constant."""
    with torch.no_grad():
        z = vae.encode(blobs(8, generator)).latent_dist.mean  # (8, 16, 1, 16, 16)
    mean, std = z.mean((0, 2, 3, 4)), z.std((0, 2, 3, 4))
    vae.register_to_config(latents_mean=[round(v, 4) for v in mean.tolist()],
                           latents_std=[round(v, 4) for v in std.tolist()])  # fmt: skip


def build(out: Path, seed: int) -> None:
    """Write transformer/, vae/, prompt_embeds.safetensors and the card into ``out``."""
    generator = torch.Generator().manual_seed(seed)
    transformer = WanTransformer3DModel(**TRANSFORMER)
    vae = AutoencoderKLWan(**VAE)
    count = 0
    for name, model in (("transformer", transformer), ("vae", vae)):
        randomise(model, generator)
        if name == "vae":
            set_latent_statistics(vae, generator)
        count += sum(p.numel() for p in model.parameters())
        model.to(torch.bfloat16).save_pretrained(out / name, max_shard_size="4MB")
    prompt = torch.randn(1, TRANSFORMER["text_dim"], generator=generator)
    save_file({"prompt_embeds": prompt}, str(out / "prompt_embeds.safetensors"), metadata={"format": "pt"})
    size = sum(f.stat().st_size for f in out.rglob("*.safetensors")) / 1e6
    hidden = TRANSFORMER["num_attention_heads"] * TRANSFORMER["attention_head_dim"]
    card = CARD.format(blocks=TRANSFORMER["num_layers"], hidden=hidden, seed=seed, params=count, size=size)
    (out / "README.md").write_text(card)


def check(out: Path) -> None:
    """Load the folder back and show that latents and features are finite and differ between pictures."""
    transformer = WanTransformer3DModel.from_pretrained(out / "transformer", torch_dtype=torch.float32)
    vae = AutoencoderKLWan.from_pretrained(out / "vae", torch_dtype=torch.float32)
    taken: dict[int, torch.Tensor] = {}
    for index, block in enumerate(transformer.blocks):
        block.register_forward_hook(lambda _m, _i, o, index=index: taken.__setitem__(index, o))
    with torch.no_grad():
        pictures = blobs(2, torch.Generator().manual_seed(1))
        z = vae.encode(pictures).latent_dist.mean  # (2, 16, 1, 16, 16)
        statistics = (vae.config.latents_mean, vae.config.latents_std)
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in statistics)
        text = torch.zeros(2, 512, TRANSFORMER["text_dim"])
        transformer((z - mean) / std, torch.tensor([300, 300]), text)
        video = vae.decode(z).sample
    print(f"latent std {z.std():.3f}, decoded std {video.std():.3f} finite {bool(video.isfinite().all())}")
    for index in (0, 10, 20, 23):
        h = taken[index]  # (2, 64 tokens, hidden)
        within = (h - h.mean(1, keepdim=True)).std() / h.std()
        between = (h[0] - h[1]).std() / h.std()
        print(f"block {index}: std {h.std():.2f} over tokens {within:.2f} between pictures {between:.2f}")
        assert h.isfinite().all()


def main() -> None:
    """Parse the command line, build into a temporary folder, check, move into place."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "vega3d/pico/wan")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out.parent) as scratch:
        build(Path(scratch), args.seed)
        check(Path(scratch))
        for old in args.out.rglob("*.safetensors*"):
            old.unlink()
        for file in sorted(p for p in Path(scratch).rglob("*") if p.is_file()):
            target = args.out / file.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o644)
            os.replace(file, target)


if __name__ == "__main__":
    main()
