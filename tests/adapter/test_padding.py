"""A batch is answered as its rows are: padded on the left, and refused where it is padded on the right."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.adapter.conftest import wrap
from tests.adapter.test_identity import trained
from tests.tiny import HOSTS, Media, join, make_batch, make_host
from vega3d import Vega3DAdapter, WanBackbone
from vega3d.errors import InputError

ROWS: list[list[Media]] = [
    [("image", 1, 4, 6)],
    [],
    [("video", 3, 4, 4), ("image", 1, 2, 4)],
]
GREEDY = {"max_new_tokens": 5, "do_sample": False}


def rows_of(host: Any) -> list[dict[str, Any]]:
    return [make_batch(host, [row], seed=seed) for seed, row in enumerate(ROWS)]


@pytest.fixture
def model(backbone: WanBackbone) -> Vega3DAdapter:
    return wrap(make_host("qwen2_5_vl"), backbone)


@pytest.mark.parametrize("name", HOSTS)
def test_the_answers_of_a_batch_are_those_of_its_rows(name: str, backbone: WanBackbone) -> None:
    model = trained(wrap(make_host(name), backbone))
    rows = rows_of(model.host)
    batch = join(rows)
    together = model.generate(**batch, **GREEDY)[:, batch["input_ids"].shape[1] :]
    alone = [model.generate(**row, **GREEDY)[0, row["input_ids"].shape[1] :] for row in rows]
    assert together.tolist() == torch.stack(alone).tolist()


@pytest.mark.parametrize("name", HOSTS)
def test_generate_refuses_a_batch_that_is_padded_on_the_right(name: str, backbone: WanBackbone) -> None:
    model = wrap(make_host(name), backbone)
    batch = join(rows_of(model.host), "right")
    with pytest.raises(InputError, match=r"padded on the right(?s:.)*rows 0, 1(?s:.)*padding_side"):
        model.generate(**batch, **GREEDY)


def test_generate_from_an_encoding_refuses_right_padding_too(model: Vega3DAdapter) -> None:
    batch = join(rows_of(model.host), "right")
    text = {name: batch[name] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
    with pytest.raises(InputError, match="padded on the right"):
        model.generate(encoding=model.encode(**batch), **text, **GREEDY)


def test_a_single_row_that_is_padded_on_the_right_is_refused_as_well(model: Vega3DAdapter) -> None:
    row = make_batch(model.host, [[]])
    row["attention_mask"][:, -2:] = 0
    with pytest.raises(InputError, match="padded on the right"):
        model.generate(**row, **GREEDY)


def test_forward_takes_a_batch_that_is_padded_on_the_right(model: Vega3DAdapter) -> None:
    batch = join(rows_of(model.host), "right")
    with torch.no_grad():
        assert model(**batch).logits.shape[:2] == batch["input_ids"].shape


def test_generate_takes_rows_of_one_length_without_a_mask(model: Vega3DAdapter) -> None:
    ids = torch.tensor([[5, 6, 7], [8, 9, 0]])  # the last token is the pad token, and meant
    with torch.no_grad():
        assert torch.equal(model.generate(input_ids=ids, **GREEDY), model.host.generate(ids, **GREEDY))


def test_generate_takes_a_pad_token_that_the_mask_does_not_hide(model: Vega3DAdapter) -> None:
    ids = torch.tensor([[5, 6, 7], [8, 9, 0]])
    mask = torch.ones_like(ids)
    ours = model.generate(input_ids=ids, attention_mask=mask, **GREEDY)
    assert torch.equal(ours, model.host.generate(input_ids=ids, attention_mask=mask, **GREEDY))


def test_generate_takes_embeddings_of_a_batch_that_is_padded_on_the_left(model: Vega3DAdapter) -> None:
    batch = join(rows_of(model.host))
    embeddings = model.get_input_embeddings()(batch["input_ids"])
    new = model.generate(**batch, **GREEDY)[:, batch["input_ids"].shape[1] :]
    ours = model.generate(**batch, inputs_embeds=embeddings, **GREEDY)
    assert torch.equal(ours[:, -new.shape[1] :], new)
