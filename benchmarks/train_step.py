"""A LoRA step with stored features beside the plain host's, measured in pairs on this machine.

Both steps do forward, backward and AdamW on the same batch: one clip and its question. The plain one is PEFT
around the bare host. The other is PEFT around the adapter, with the clip's features read from memory as a
data worker hands them over, and projector and fusion trained too. The host is a Qwen2.5-VL of random weights
with a projector that is about as small beside it as the 7B's, and features as wide beside it; the ratio is
printed. Steps alternate, so that what
else the machine does falls on both; what counts is the median of the paired ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from peft import LoraConfig, get_peft_model
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from vega3d import FusionConfig, Vega3DAdapter, Vega3DConfig, WanConfig
from vega3d.grid import FeatureMap
from vega3d.inputs.clip import Clip
from vega3d.media.frame_plan import FramePlan
from vega3d.store.feature_store import CacheHit
from vega3d.training.config import LoraSettings
from vega3d.training.recipes import apply_recipe, lora_options

VIDEO, START, END = 291, 292, 293
LORA = LoraSettings(rank=16, alpha=16, dropout=0.0)


def host_of(wide: int, layers: int, dtype: torch.dtype) -> Any:
    """A Qwen2.5-VL of random weights."""
    text = {
        "hidden_size": wide,
        "intermediate_size": 4 * wide,
        "num_hidden_layers": layers,
        "num_attention_heads": wide // 64,
        "num_key_value_heads": wide // 64,
        "vocab_size": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]},
    }
    vision = {
        "depth": 4,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_heads": 4,
        "out_hidden_size": wide,
    }
    tokens = {"video_token_id": VIDEO, "vision_start_token_id": START, "vision_end_token_id": END}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
    torch.manual_seed(0)
    return Qwen2_5_VLForConditionalGeneration(config).to(dtype)


def batch_of(frames: int, side: int, device: torch.device) -> dict[str, Any]:
    """One clip of ``frames`` frames of side x side tokens, and its stored features."""
    steps, make = frames // 2, torch.Generator().manual_seed(0)
    ids = [1] * 20 + [START] + [VIDEO] * (steps * side * side) + [END] + [5] * 40
    found = {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "mm_token_type_ids": 2 * (torch.tensor([ids]) == VIDEO).int(),
        "labels": torch.tensor([[-100] * (len(ids) - 30) + ids[-30:]]),
        "pixel_values_videos": torch.randn(steps * 4 * side * side, 1176, generator=make),
        "video_grid_thw": torch.tensor([[steps, 2 * side, 2 * side]]),
        "second_per_grid_ts": torch.tensor([1.0]),
    }
    return {name: one.to(device) for name, one in found.items()}


def features_of(frames: int, side: int, channels: int) -> dict[str, Any]:
    """Clips as a processor with a store makes them; 6.25 cells for each token, as 30 x 52 for 14 x 18."""
    cells = int(2.5 * side)
    features = torch.randn(channels, frames, cells, cells, generator=torch.Generator().manual_seed(1))
    stored = CacheHit(FeatureMap(features.bfloat16(), tuple((at,) for at in range(frames))), "any", "memory")
    nothing = torch.empty(0, 3, 480, 832, dtype=torch.uint8)
    plan = FramePlan.per_frame(range(frames))
    return {"generative_clips": [Clip(nothing, plan, (0,), (480, 832), cached=stored)]}


def step_of(model: Any, batch: dict[str, Any]) -> Callable[[], None]:
    """One step of training."""
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4)

    def step() -> None:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds(step: Callable[[], None], device: torch.device) -> float:
    """Wall time of one step."""
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=512, help="of the host (default: 512)")
    parser.add_argument("--layers", type=int, default=6, help="of the host (default: 6)")
    parser.add_argument("--channels", type=int, default=224, help="of the features (default: 224)")
    parser.add_argument("--hidden", type=int, default=256, help="of the projector (default: 256)")
    parser.add_argument("--frames", type=int, default=8, help="of the clip (default: 8)")
    parser.add_argument("--side", type=int, default=8, help="tokens on one side of a frame (default: 8)")
    parser.add_argument("--pairs", type=int, default=15, help="of steps (default: 15)")
    own = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    config = Vega3DConfig(backbone=WanConfig(channels=own.channels), fusion=FusionConfig(hidden=own.hidden))
    adapter = Vega3DAdapter(host_of(own.width, own.layers, dtype), config).to(device)
    batch = batch_of(own.frames, own.side, device)
    size = sum(one.numel() for one in adapter.host.parameters())
    projector = sum(one.numel() for one in adapter.projector.parameters())
    print(f"host {size / 1e6:.1f} M, projector {projector / 1e6:.2f} M: {projector / size:.2%} (7B: 0.2 %)")
    print(f"{batch['input_ids'].shape[1]} tokens, {device}, {dtype}, {torch.get_num_threads()} threads")
    bare = get_peft_model(
        host_of(own.width, own.layers, dtype).to(device), LoraConfig(**lora_options(adapter, LORA))
    )
    plain = step_of(bare.train(), batch)
    cached = step_of(
        apply_recipe(adapter, "lora", LORA), batch | features_of(own.frames, own.side, own.channels)
    )
    for step in (plain, cached):
        seconds(step, device)
    pairs = [(seconds(plain, device), seconds(cached, device)) for _ in range(own.pairs)]
    ratios = sorted(other / one for one, other in pairs)
    quarter = len(ratios) // 4
    print(f"plain {statistics.median(one for one, _ in pairs):.3f} s, ", end="")
    print(f"cached {statistics.median(other for _, other in pairs):.3f} s a step")
    middle = f"middle half {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}"
    print(f"paired ratio {statistics.median(ratios):.3f} ({middle})")


if __name__ == "__main__":
    main()
