"""How much of a feature is the draw of the noise? Measured on the shipped Wan and rendered rooms.

A feature is run for a frame with many independent draws. The draw's share is the variance between draws of
one frame over the variance of everything, channel by channel, then averaged. Two quantities: a token's
feature, and the difference of two frames of a room at one position, which is what a score of consistency
sees. Under the ``shared`` policy both frames meet the same draw.

The shipped Wan is random, not trained: this shows how to measure, and an order of magnitude, not Wan2.1.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from vega3d import WanBackbone, WanConfig
from vega3d.backbones.frames import content_noise, shared_noise
from vega3d.pico import pico_path
from vega3d.rooms import make_room, render

DRAWS = (1, 4, 16)


def frames_of(rooms: int) -> Tensor:
    """(rooms, 2, 3, H, W): the first and the middle frame of each room."""
    found = []
    for number in range(rooms):
        rgb = torch.from_numpy(render(make_room(seed=200_001_000 + number)).rgb)
        found.append(rgb[[0, len(rgb) // 2]].permute(0, 3, 1, 2))
    return torch.stack(found)


def features(wan: WanBackbone, frames: Tensor, draws: int, shared: bool) -> Tensor:
    """(draws, frames, L, C) of single frames (N, 3, H, W), each with ``draws`` independent draws."""
    latents = wan.latents(torch.stack([wan.prepare(frame) for frame in frames]))
    shape = latents.shape[1:]
    found = []
    for draw in range(draws):
        noise = torch.stack(
            [
                shared_noise(0, shape, draw) if shared else content_noise(0, frame[None], shape, draw)
                for frame in frames
            ]
        )
        found.append(wan.hidden_states(latents, noise=noise)[wan.config.block])
    return torch.stack(found)


def share(values: Tensor) -> float:
    """Variance between draws over all variance: (repeats, ..., C), mean over channels."""
    within = values.var(dim=0).flatten(0, -2).mean(0)  # (C,)
    everything = values.flatten(0, -2).var(dim=0)  # (C,)
    return (within / everything).mean().item()


def table(wan: WanBackbone, pictures: Tensor, repeats: int) -> list[tuple[str, int, float, float]]:
    """(policy, draws, share of a token, share of a difference of two frames)."""
    rows = []
    for policy in ("content", "shared"):
        single = features(wan, pictures.flatten(0, 1), repeats * max(DRAWS), policy == "shared")
        for draws in DRAWS:
            means = (
                single[: repeats * draws].unflatten(0, (repeats, draws)).mean(1)
            )  # (repeats, frames, L, C)
            pairs = means.unflatten(1, (-1, 2))
            rows.append((policy, draws, share(means), share(pairs[:, :, 0] - pairs[:, :, 1])))
    return rows


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rooms", type=int, default=6, help="rooms, two frames each (default: 6)")
    parser.add_argument("--repeats", type=int, default=8, help="independent means (default: 8)")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.1, 0.3, 0.5], metavar="SIGMA")
    parser.add_argument("--block", type=int, default=20)
    arguments = parser.parse_args()
    pictures = frames_of(arguments.rooms)
    print("| sigma | policy | draws | share of a token's variance | of a difference of two frames |")
    print("|---|---|---|---|---|")
    for sigma in arguments.sigmas:
        config = WanConfig(block=arguments.block, sigma=sigma, pixels=128 * 128, micro_batch=1)
        wan = WanBackbone.from_pretrained(pico_path("wan"), config=config)
        for policy, draws, token, difference in table(wan, pictures, arguments.repeats):
            print(f"| {sigma:g} | {policy} | {draws} | {token:.3f} | {difference:.3f} |", flush=True)


if __name__ == "__main__":
    main()
