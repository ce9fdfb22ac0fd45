"""Memory of a clip in Wan beside the weights: the tensors that torch holds at once, counted from shapes.

The sums follow the code: tensors that are alive at the peak of the VAE and of a block of the DiT, and the
features that wait until the clip is complete. A GPU's context (some 0.5 GiB), scratch space of its libraries
and unused memory that the allocator keeps are not counted.
"""

from __future__ import annotations

from vega3d.backbones.cost import Device
from vega3d.backbones.wan.config import AS_VIDEO, PATCH, WanConfig
from vega3d.backbones.wan.dit import PART
from vega3d.backbones.wan.flops import CONTROL, DitShape, VaeShape, Work

WORD = 4  # bytes of a float32
PICTURES = 15  # channels of pictures beside the VAE's own tensors: decoded, stacked, scaled, padded
# Full-size tensors that the published VAE holds at once, each of its first width, with the convolutions'
# copies of their inputs. For a single frame in 2-D: a residual block's input, and three on the way to its
# output. For a video of 5 or more frames: measured, see docs/estimate.md.
TENSORS = {1: 4.0, 5: 36.6}
LONGER_TENSORS = 40.7
PLAIN = 4 * 16  # channels of latents: clean, their noise, noised, and in the place where they are cut
CONTROLLED = PLAIN + 2 * (16 + CONTROL)  # a VACE's with their control, before and after they are cut


def branch_memory(
    config: WanConfig, dit: DitShape, vae: VaeShape, size: tuple[int, int], work: Work, device: Device
) -> dict[str, int]:
    """Bytes in each moment that may have the peak, without the weights.

    Args:
        config: settings.
        dit: dimensions of the transformer.
        vae: dimensions of the VAE's encoder.
        size: height and width of the tower's picture in pixels.
        work: on the clip.
        device: kind of device; it sets the default micro-batch, and on a CPU the MLP runs in parts.

    Returns:
        ``vae``, ``dit`` with the features that are done by then, and ``features``, the moment when those of
        the clip are joined.
    """
    grid, longest = (size[0] // PATCH) * (size[1] // PATCH), max(work.forwards)
    batch = micro_batch(config, device)
    waiting = grid * sum(work.forwards) * dit.channels * WORD  # of every latent frame, float32
    done = (len(work.forwards) - 1) // batch * batch / len(work.forwards)  # before the last forward
    rotary = grid * longest * dit.channels // dit.heads * WORD
    inside = batch * token_bytes(config, dit.kept(config.block), grid * longest, device) * grid * longest
    channels = CONTROLLED if dit.vace_layers else PLAIN
    latents = channels * 4 * WORD * grid * sum(work.forwards)  # four latent positions a token
    return {
        "vae": _encoding(config, vae, size[0] * size[1], max(work.encodes), device),
        "dit": inside + rotary + int(done * waiting) + latents,
        "features": min(config.noise_samples + 1, 4) * waiting + latents,
    }


def micro_batch(config: WanConfig, device: Device) -> int:
    """Videos in one forward of the DiT; the same rule as in the backbone."""
    if config.micro_batch is not None:
        return config.micro_batch
    return 1 if device == "cpu" or config.mode in ("window", "joint", "clip") else 8


def _encoding(config: WanConfig, vae: VaeShape, area: int, frames: int, device: Device) -> int:
    """Bytes of the VAE on one micro-batch of its longest videos."""
    frame_batch = config.micro_batch or (1 if device == "cpu" else 8)
    batch = micro_batch(config, device) if config.mode in AS_VIDEO else frame_batch
    tensors = TENSORS.get(frames, LONGER_TENSORS)
    return int(batch * area * WORD * (tensors * vae.base + PICTURES * frames))


def token_bytes(config: WanConfig, dit: DitShape, tokens: int, device: Device) -> int:
    """Bytes for each token at the peak of a block, counted from the tensors of ``dit.run_block``.

    Args:
        config: settings.
        dit: dimensions of the kept part of the transformer.
        tokens: number of tokens of one video.
        device: on a CPU the MLP runs in parts of ``PART`` tokens.
    """
    wide, word = dit.channels, 4 if config.dtype == "float32" else 2  # bytes of a number beside the stream
    stream = 4 if config.residual_dtype == "float32" else word
    cast = 4 if word == 2 else 0  # a float32 copy of a tensor in another dtype
    share = 1.0 if device == "cuda" else 1 / -(-tokens // PART)
    inner = 2 * word * dit.feed_forward * share + (1 - share) * word * wide  # up, its GELU; finished parts
    moments = (
        2 * stream * wide + 3 * word * wide + (4 + cast + (word if cast else 0)) * wide,  # a key is rotated
        2 * stream * wide + 6 * word * wide,  # query, key, value, their result, and its projection
        3 * stream * wide + (word + 12 + (word if cast else 0)) * wide,  # cross attention, in closed form
        3 * stream * wide + word * wide + inner,  # the MLP
    )
    hints = len(dit.vace_layers) * stream * wide
    return int(max(moments)) + hints
