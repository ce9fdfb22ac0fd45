"""A freshly wrapped host is the host: same logits to the bit, same tokens, one encoder call a clip."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.adapter.conftest import wrap
from tests.tiny import HOSTS, Media, for_host, grouped, make_batch, make_host
from vega3d import Vega3DAdapter, WanBackbone
from vega3d.inputs.clip import MEDIA, flat_clips

ROWS: dict[str, list[list[Media]]] = {
    "one image": [[("image", 1, 4, 6)]],
    "images of differing size": [[("image", 1, 4, 6), ("image", 1, 2, 8)]],
    "one video": [[("video", 4, 4, 4)]],
    "video of one frame": [[("video", 1, 4, 4)]],
    "video of an odd number of frames": [[("video", 5, 4, 4)]],
    "two videos of differing length": [[("video", 2, 4, 4), ("video", 3, 2, 4)]],
    "text only": [[]],
    "all mixed in one batch": [
        [("image", 1, 4, 6)],
        [],
        [("video", 3, 4, 4), ("image", 1, 6, 4)],
        [("video", 4, 2, 6), ("video", 1, 4, 4)],
    ],
}
MIXED = ROWS["all mixed in one batch"]


def logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch).logits


@pytest.mark.exact
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", HOSTS)
def test_a_fresh_adapter_gives_the_hosts_logits_to_the_bit(
    name: str, dtype: torch.dtype, rows: str, side: str, backbone: WanBackbone
) -> None:
    host = make_host(name, dtype)
    batch = make_batch(host, ROWS[rows], side)
    assert torch.equal(logits(wrap(host, backbone), batch), logits(host, for_host(batch)))


@pytest.mark.exact
@pytest.mark.parametrize("name", HOSTS)
def test_images_declared_one_clip_give_the_hosts_logits_too(name: str, backbone: WanBackbone) -> None:
    host = make_host(name)
    batch = make_batch(host, [[("image", 1, 4, 4)] * 3, [("image", 1, 4, 6)]])
    together = grouped(batch, [[0, 1, 2]])
    assert torch.equal(logits(wrap(host, backbone), together), logits(host, for_host(batch)))


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", HOSTS)
def test_generate_gives_the_hosts_tokens(name: str, beams: int, backbone: WanBackbone) -> None:
    host = make_host(name)
    batch = make_batch(host, MIXED)
    options = {"max_new_tokens": 6, "num_beams": beams, "do_sample": False}
    ours = wrap(host, backbone).generate(**batch, **options)
    assert torch.equal(ours, host.generate(**for_host(batch), **options))


@pytest.mark.parametrize("name", HOSTS)
def test_generate_twice_from_one_encoding_gives_the_same_tokens(name: str, backbone: WanBackbone) -> None:
    host = make_host(name)
    batch = make_batch(host, MIXED)
    model = trained(wrap(host, backbone))
    encoding = model.encode(**batch)
    text = {key: value for key, value in batch.items() if key not in MEDIA}
    runs = [
        model.generate(encoding=encoding, **text, max_new_tokens=6, num_beams=3, do_sample=False)
        for _ in range(2)
    ]
    assert torch.equal(runs[0], runs[1])


def test_forward_from_an_encoding_equals_forward_from_media(backbone: WanBackbone) -> None:
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, MIXED)
    model = trained(wrap(host, backbone))
    text = {key: value for key, value in batch.items() if key not in MEDIA}
    with torch.no_grad():
        assert torch.equal(logits(model, text | {"encoding": model.encode(**batch)}), logits(model, batch))


def test_a_trained_adapter_differs_from_its_host(backbone: WanBackbone) -> None:
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, MIXED)
    assert not torch.allclose(logits(trained(wrap(host, backbone)), batch), logits(host, for_host(batch)))


@pytest.mark.parametrize("beams", [1, 3])
def test_generate_runs_the_backbone_once_a_clip(
    beams: int, backbone: WanBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    call = WanBackbone.__call__

    def counted(self: WanBackbone, frames: Any, plan: Any = None) -> Any:
        seen.append(len(frames))
        return call(self, frames, plan)

    monkeypatch.setattr(WanBackbone, "__call__", counted)
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, [[("video", 4, 4, 4)], [("video", 2, 4, 4)]])
    wrap(host, backbone).generate(**batch, max_new_tokens=5, num_beams=beams, do_sample=False)
    assert seen == [2]  # one call, two clips


def test_token_types_that_are_missing_are_derived_from_the_token_ids(backbone: WanBackbone) -> None:
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, MIXED)
    without = {key: value for key, value in batch.items() if key != "mm_token_type_ids"}
    model = wrap(host, backbone)
    assert torch.equal(logits(model, without), logits(model, batch))


def test_grouping_images_changes_neither_the_order_nor_the_features_of_frame_mode(
    backbone: WanBackbone,
) -> None:
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, [[("image", 1, 4, 4)] * 4])
    model = trained(wrap(host, backbone))
    together = logits(model, grouped(batch, [[2, 0], [3]]))
    assert torch.equal(together, logits(model, batch))


def trained(model: Vega3DAdapter) -> Vega3DAdapter:
    """Stand-in for training: the zero layer gets values, so that the branch is heard."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        torch.nn.init.normal_(model.projector.down.weight, std=0.5)
    return model


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("rows", ["images of differing size", "two videos of differing length"])
def test_an_encoding_repeated_is_the_encoding_of_repeated_media(
    name: str, rows: str, backbone: WanBackbone
) -> None:
    host = make_host(name)
    model = wrap(host, backbone)
    one, two = (make_batch(host, ROWS[rows] * times) for times in (1, 2))
    for key in ("pixel_values", "pixel_values_videos"):
        if key in one:  # both rows of the batch see the same pixels
            two[key] = torch.cat([one[key]] * 2)
    two["generative_clips"] = flat_clips([one["generative_clips"]] * 2)
    twice = model.encode(**{k: one[k] for k in MEDIA if k in one}).repeated(2)
    text = {k: v for k, v in two.items() if k not in MEDIA}
    assert torch.equal(logits(model, {**text, "encoding": twice}), logits(model, two))
