"""A host is told from another one of its type and width by its files, however they are stored."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

import vega3d
from tests.adapter.checkpoints import host_of, load, trained, write_checkpoint, write_host
from tests.adapter.conftest import wrap
from tests.tiny import make_host
from vega3d import WanBackbone, checkpoint
from vega3d.checkpoint.host_digest import RUN, RUNS, host_digest
from vega3d.config import HostConfig
from vega3d.errors import CheckpointError
from vega3d.training.export import export, merge
from vega3d.training.trained import write_trained

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_host(tmp_path_factory.mktemp("host") / "tiny")


def written(folder: Path, dtype: torch.dtype = torch.float32, seed: int = 0, size: str = "1GB") -> Path:
    """A host's files alone."""
    make_host("qwen2_5_vl", seed=seed).to(dtype).save_pretrained(folder, max_shard_size=size)
    return folder


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("between", DTYPES)
def test_copies_in_other_precisions_have_the_same_digest(
    dtype: str, between: str, host: Path, tmp_path: Path
) -> None:
    copy = make_host("qwen2_5_vl").to(DTYPES[between]).to(DTYPES[dtype])
    copy.save_pretrained(tmp_path)
    assert host_digest(tmp_path) == host_digest(host) is not None


def test_signs_survive_where_float16_underflows_and_overflows(host: Path, tmp_path: Path) -> None:
    wide = {
        name: tensor * torch.logspace(-12, 12, tensor.numel()).reshape(tensor.shape)
        for name, tensor in load_file(host / "model.safetensors").items()
    }
    digests = set()
    for name, dtype in DTYPES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes((host / "config.json").read_bytes())
        save_file(
            {key: value.to(dtype) for key, value in wide.items()}, tmp_path / name / "model.safetensors"
        )
        digests.add(host_digest(tmp_path / name))
    assert len(digests) == 1


def test_shards_order_and_names_do_not_enter(host: Path, tmp_path: Path) -> None:
    sharded = written(tmp_path / "sharded", size="100KB")
    assert len(list(sharded.glob("*.safetensors"))) > 3
    assert host_digest(sharded) == host_digest(host)
    tensors = load_file(host / "model.safetensors")
    (tmp_path / "renamed").mkdir()
    (tmp_path / "renamed" / "config.json").write_bytes((host / "config.json").read_bytes())
    save_file(
        {f"x.{at}": value for at, value in enumerate(tensors.values())},
        tmp_path / "renamed/model.safetensors",
    )
    assert host_digest(tmp_path / "renamed") == host_digest(host)


def test_other_weights_of_the_same_type_and_width_have_another_digest(host: Path, tmp_path: Path) -> None:
    assert host_digest(written(tmp_path, seed=1)) != host_digest(host)


@pytest.mark.parametrize("amount", [1e-2, 1e-3])
def test_a_small_training_step_changes_the_digest(amount: float, host: Path, tmp_path: Path) -> None:
    moved = host_of(host)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.add_(torch.randn_like(parameter) * parameter.std(unbiased=False) * amount)
    moved.save_pretrained(tmp_path)  # type: ignore[operator]
    assert host_digest(tmp_path) != host_digest(host)


def test_only_a_sample_of_a_large_tensor_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    large = torch.ones(40 * RUN * RUNS)
    save_file({"x": large}, tmp_path / "model.safetensors")
    before = host_digest(tmp_path)
    large[RUN + 1] = -1.0  # between two of the sampled places
    save_file({"x": large}, tmp_path / "model.safetensors")
    assert host_digest(tmp_path) == before
    large[-1] = -1.0
    save_file({"x": large}, tmp_path / "model.safetensors")
    assert host_digest(tmp_path) != before


def test_a_host_in_memory_quantised_on_disk_or_not_on_this_machine_has_none(
    host: Path, tmp_path: Path
) -> None:
    assert host_digest(None) is None
    assert host_digest("nobody/has-this-host") is None
    assert host_digest("no/such/folder/at all") is None
    assert host_digest(tmp_path) is None
    copy = written(tmp_path / "quantised")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    assert host_digest(copy) is None


def test_a_hub_host_is_read_from_the_cache(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    repo = tmp_path / "models--me--host"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots").mkdir()
    (repo / "snapshots" / commit).symlink_to(host)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert host_digest("me/host") == host_digest("me/host", commit) == host_digest(host)


# ---------------------------------------------------------------- in checkpoints


@pytest.fixture(scope="module")
def saved(host: Path, backbone: WanBackbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint("align", host, backbone, tmp_path_factory.mktemp("saved"))


def test_another_host_of_the_same_type_and_width_is_refused(
    saved: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    other = host_of(written(tmp_path, seed=1))
    with pytest.raises(CheckpointError, match=r"another host(?s:.)*other weights(?s:.)*host\.digest to null"):
        load(saved, backbone, host=other)


def test_the_host_that_it_was_trained_on_loads_without_a_warning_in_any_precision_and_place(
    saved: Path, host: Path, backbone: WanBackbone
) -> None:
    offloaded = host_of(host)
    cpu_offload(offloaded, torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        load(saved, backbone)
        load(saved, backbone, host=host_of(host).bfloat16())
        load(saved, backbone, host=offloaded)


def test_a_host_in_memory_is_a_warning(saved: Path, backbone: WanBackbone) -> None:
    with pytest.warns(UserWarning, match="cannot be compared.*the host has no digest"):
        load(saved, backbone, host=make_host("qwen2_5_vl", seed=1))


def test_a_checkpoint_without_a_digest_is_a_warning(
    host: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    wrap(make_host("qwen2_5_vl"), backbone).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="cannot be compared.*the checkpoint has no digest"):
        load(tmp_path, backbone, host=host_of(host))


def test_weights_that_were_replaced_under_the_hosts_name_are_refused(
    backbone: WanBackbone, tmp_path: Path
) -> None:
    host = write_host(tmp_path / "host")
    folder = write_checkpoint("align", host, backbone, tmp_path)
    written(host, seed=1)
    with pytest.raises(CheckpointError, match="another host"):
        load(folder, backbone)
    with pytest.raises(CheckpointError, match="another host"):
        vega3d.load(str(folder), device="cpu")


def test_a_merged_and_an_exported_host_have_digests_of_their_own(
    host: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    write_trained(tmp_path / "full", trained(host, backbone, "full"))
    write_trained(tmp_path / "lora", trained(host, backbone, "lora"))
    folders = [
        export(tmp_path / "full", tmp_path / "exported"),
        merge(tmp_path / "lora", tmp_path / "merged"),
    ]
    digests = {host_digest(host)}
    for folder in folders:
        found: HostConfig = checkpoint.load(folder).config.host
        assert found.digest == host_digest(folder / "host")
        digests.add(found.digest)
    assert len(digests) == 3
    assert checkpoint.load(tmp_path / "lora").config.host.digest == host_digest(host)
