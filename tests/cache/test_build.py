"""A store serves what the generator computes, in every mode and form."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from threading import Thread
from typing import Any, get_args

import pytest
import torch

from tests import media, processors, tiny
from tests.cache.conftest import SETTINGS, chat, image, jobs_of, store_for, video
from vega3d import Vega3DAdapter, Vega3DConfig, WanBackbone, WanConfig
from vega3d.backbones.wan.config import Mode
from vega3d.cache import EncodeJob, JobPlanner, Report, build
from vega3d.config import MarksSeen
from vega3d.errors import BackboneError, StoreError
from vega3d.pico import pico_path
from vega3d.processing import Vega3DProcessor
from vega3d.store import FeatureFormat, FeatureStore
from vega3d.store.feature_store import CacheHit, CacheMiss

GOLDENS = Path(__file__).parents[1] / "goldens" / "wan" / "diffusers"
MODES = get_args(Mode)
ROWS = 10  # with media
FORMS = [
    FeatureFormat("native", "float32"),
    FeatureFormat("native", "bfloat16"),
    FeatureFormat("native", "int8"),
    FeatureFormat("pooled", "int8", 2),
]


@pytest.fixture(scope="module")
def vace_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vace") / "vace"
    shutil.copytree(GOLDENS / "transformer_vace", folder / "transformer")
    shutil.copytree(GOLDENS / "vae", folder / "vae")
    return folder


@pytest.fixture(scope="module")
def host() -> Any:
    return tiny.qwen2_5_vl().eval()


def generator(vace_folder: Path, **changes: Any) -> WanBackbone:
    config = dataclasses.replace(SETTINGS, **changes)
    if config.mode.startswith("vace"):
        return WanBackbone.from_pretrained(vace_folder, config=config, prompt_embeds=torch.ones(1, 32))
    return WanBackbone.from_pretrained(pico_path("wan"), config=config)


def processor(
    host: Any, config: WanConfig, store: FeatureStore | None = None, marks: MarksSeen = "host"
) -> Vega3DProcessor:
    own = processors.host_processor("qwen2_5_vl", host.config.vision_config.patch_size)
    return Vega3DProcessor(own, Vega3DConfig(backbone=config, marks=marks), store)


def batch(annotations: Path, prepare: Vega3DProcessor, row: int) -> dict[str, Any]:
    """One row of the annotations, prepared as for training."""
    record = json.loads(annotations.read_text().splitlines()[row])
    root = annotations.parent
    messages = record.get("messages") or [
        chat(
            *(video(one) for one in [record["video"]] if one)
            if "video" in record
            else (image(one) for one in record.get("images", [record.get("image")]))
        )
    ]
    for entry in messages[0]["content"]:
        for name in ("image", "video"):
            if isinstance(entry.get(name), str):
                entry[name] = str(root / entry[name])
            elif isinstance(entry.get(name), list):
                entry[name] = [str(root / one) for one in entry[name]]
    return dict(prepare.apply_chat_template(messages))


def filled(path: Path, annotations: Path, wan: WanBackbone, form: FeatureFormat) -> FeatureStore:
    store = store_for(path, wan, form)
    report = build(store, wan, jobs_of(annotations, JobPlanner(wan.config)))
    assert not report.problems
    assert report.computed == len(store) > 0
    return store


def looked(inputs: dict[str, Any]) -> list[Any]:
    return [clip.cached for clip in inputs.get("generative_clips", ())]


def encoded(host: Any, wan: WanBackbone | None, config: WanConfig, inputs: dict[str, Any]) -> Any:
    model = Vega3DAdapter(host, Vega3DConfig(backbone=config), wan).eval()
    with torch.no_grad():
        return model.encode(**inputs)


def check_equal(tmp_path: Path, annotations: Path, host: Any, wan: WanBackbone, form: FeatureFormat) -> None:
    """Every row is found, and read and computed features are equal bit by bit."""
    full = filled(tmp_path / "full", annotations, wan, form)
    empty = store_for(tmp_path / "empty", wan, form)
    for row in range(ROWS):
        read = batch(annotations, processor(host, wan.config, full), row)
        live = batch(annotations, processor(host, wan.config, empty), row)
        assert all(isinstance(one, CacheHit) for one in looked(read)), row
        assert all(isinstance(one, CacheMiss) for one in looked(live)), row
        stored = encoded(host, None, wan.config, read).maps
        computed = encoded(host, wan, wan.config, live).maps
        for one, other in zip(stored, computed, strict=True):
            assert torch.equal(one.features, other.features)
            assert (one.frames, one.resampling) == (other.frames, other.resampling)


@pytest.mark.exact
@pytest.mark.parametrize("mode", MODES)
def test_read_and_computed_features_are_equal_in_every_mode(
    tmp_path: Path, annotations: Path, host: Any, vace_folder: Path, mode: Mode
) -> None:
    wan = generator(vace_folder, mode=mode, max_latent_frames=2, extra_frames=1 if mode == "clip" else 0)
    check_equal(tmp_path, annotations, host, wan, FeatureFormat("native", "float32"))


@pytest.mark.exact
@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.grid} {form.precision}")
def test_read_and_computed_features_are_equal_in_every_form(
    tmp_path: Path, annotations: Path, host: Any, vace_folder: Path, form: FeatureFormat
) -> None:
    check_equal(tmp_path, annotations, host, generator(vace_folder, mode="clip", max_latent_frames=2), form)


@pytest.mark.exact
def test_read_and_computed_features_are_equal_for_the_released_picture(
    tmp_path: Path, annotations: Path, host: Any, vace_folder: Path
) -> None:
    reference = generator(vace_folder, resize="center_crop", size=(64, 48))
    check_equal(tmp_path, annotations, host, reference, FeatureFormat("native", "bfloat16"))


@pytest.mark.exact
def test_float32_features_are_those_of_a_model_without_a_store(
    tmp_path: Path, annotations: Path, host: Any, wan: WanBackbone
) -> None:
    full = filled(tmp_path / "store", annotations, wan, FeatureFormat("native", "float32"))
    read = encoded(host, None, wan.config, batch(annotations, processor(host, wan.config, full), 0))
    plain = encoded(host, wan, wan.config, batch(annotations, processor(host, wan.config), 0))
    assert torch.equal(read.maps[0].features, plain.maps[0].features)


@pytest.mark.parametrize("mode", ["frame", "clip"])
def test_a_generator_that_sees_marks_has_features_of_marked_pictures(
    tmp_path: Path, annotations: Path, host: Any, vace_folder: Path, mode: Mode
) -> None:
    wan = generator(vace_folder, mode=mode)
    plain, marked = (jobs_of(annotations, JobPlanner(wan.config, marks=seen)) for seen in ("host", "both"))
    assert len({job.key.digest for job in plain + marked} - {job.key.digest for job in plain}) == 1
    store = store_for(tmp_path / "store", wan)
    build(store, wan, marked)
    row = 9
    read = batch(annotations, processor(host, wan.config, store, "both"), row)
    assert all(isinstance(one, CacheHit) for one in looked(read))
    live = batch(annotations, processor(host, wan.config, None, "both"), row)
    one, other = encoded(host, None, wan.config, read).maps, encoded(host, wan, wan.config, live).maps
    assert all(torch.equal(a.features, b.features) for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------- building


def test_a_second_build_computes_nothing(tmp_path: Path, annotations: Path, wan: WanBackbone) -> None:
    store = store_for(tmp_path / "store", wan)
    first = build(store, wan, jobs_of(annotations))
    second = build(store, wan, jobs_of(annotations))
    assert first.computed == second.held
    assert not first.held
    assert not second.computed


@pytest.mark.exact
def test_the_size_of_a_batch_changes_no_bit(tmp_path: Path, annotations: Path, wan: WanBackbone) -> None:
    jobs = jobs_of(annotations)
    one, many = (store_for(tmp_path / name, wan) for name in ("one", "many"))
    build(one, wan, jobs, batch_frames=1)
    build(many, wan, jobs, batch_frames=64)
    for job in jobs:
        first, second = one.read([job.key]), many.read([job.key])
        assert first is not None
        assert second is not None
        assert torch.equal(first.features, second.features)


def test_two_builds_at_once_share_the_work(tmp_path: Path, annotations: Path, wan: WanBackbone) -> None:
    jobs, store = jobs_of(annotations), store_for(tmp_path / "store", wan)
    reports: list[Report] = []
    threads = [
        Thread(target=lambda: reports.append(build(store_for(store.path, wan), wan, jobs, batch_frames=1)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = len({job.key.digest for job in jobs})
    assert len(store) == every
    assert sum(report.computed for report in reports) < 2 * every


def test_what_cannot_be_decoded_is_reported_and_the_rest_is_built(
    tmp_path: Path, annotations: Path, wan: WanBackbone
) -> None:
    jobs = jobs_of(annotations)
    beyond = dataclasses.replace(jobs[0], key=dataclasses.replace(jobs[0].key, frames=(500,)))
    store = store_for(tmp_path / "store", wan)
    report = build(store, wan, [beyond, *jobs])
    assert [problem.where for problem in report.problems] == [beyond.files[0]]
    assert report.computed == len(store) == len({job.key.digest for job in jobs})


def test_progress_adds_up_to_all_jobs(tmp_path: Path, annotations: Path, wan: WanBackbone) -> None:
    told: list[tuple[int, int]] = []
    jobs = jobs_of(annotations)
    store = store_for(tmp_path / "store", wan)
    build(store, wan, jobs[:5])
    build(store, wan, jobs, progress=lambda done, total, _: told.append((done, total)))
    count = len({job.key.digest for job in jobs})
    assert told == sorted(told)
    assert told[-1] == (count, count)


def test_another_generator_is_refused_before_anything_is_computed(
    tmp_path: Path, annotations: Path, wan: WanBackbone, vace_folder: Path
) -> None:
    store = store_for(tmp_path / "store", wan)
    with pytest.raises(StoreError, match=r"sigma=0\.5"):
        build(store, generator(vace_folder, sigma=0.5), jobs_of(annotations))
    assert not len(store)


# ---------------------------------------------------------------- using


def test_a_processor_refuses_a_store_of_other_settings(tmp_path: Path, host: Any, wan: WanBackbone) -> None:
    store = store_for(tmp_path / "store", wan)
    with pytest.raises(StoreError, match="block=0"):
        processor(host, dataclasses.replace(wan.config, block=0), store)


def test_a_model_refuses_features_of_other_weights(
    tmp_path: Path, annotations: Path, host: Any, wan: WanBackbone
) -> None:
    store = filled(tmp_path / "store", annotations, wan, FeatureFormat())
    about = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps(about | {"fingerprint": "0" * 64}))
    inputs = batch(annotations, processor(host, wan.config, FeatureStore(store.path)), 0)
    with pytest.raises(StoreError, match="another generator"):
        encoded(host, wan, wan.config, inputs)


def test_a_missing_feature_names_the_medium_the_key_and_the_command(
    tmp_path: Path, annotations: Path, host: Any, wan: WanBackbone
) -> None:
    empty = store_for(tmp_path / "empty", wan)
    inputs = batch(annotations, processor(host, wan.config, empty), 0)
    (missing,) = looked(inputs)
    with pytest.raises(BackboneError) as error:
        encoded(host, None, wan.config, inputs)
    message = str(error.value)
    assert "a.mp4" in message
    assert missing.key.digest in message
    assert f"vega3d cache build {empty.path}" in message


def test_media_without_store_and_generator_are_an_error(
    annotations: Path, host: Any, wan: WanBackbone
) -> None:
    with pytest.raises(BackboneError, match="Missing backbone"):
        encoded(host, None, wan.config, batch(annotations, processor(host, wan.config), 0))


def test_stored_videos_are_decoded_for_the_host_alone(
    tmp_path: Path, annotations: Path, host: Any, wan: WanBackbone, vace_folder: Path
) -> None:
    window = generator(vace_folder, mode="window")
    store = filled(tmp_path / "store", annotations, window, FeatureFormat())
    inputs = batch(annotations, processor(host, window.config, store), 0)
    assert len(inputs["generative_clips"][0].frames) == 0


def test_a_replaced_file_is_not_served_the_old_features(
    tmp_path: Path, annotations: Path, host: Any, wan: WanBackbone
) -> None:
    store = filled(tmp_path / "store", annotations, wan, FeatureFormat("native", "float32"))
    shutil.copy(annotations.parent / "b.mp4", annotations.parent / "a.mp4")
    prepare = processor(host, wan.config, store)
    swapped = encoded(host, wan, wan.config, batch(annotations, prepare, 0))
    original = encoded(host, None, wan.config, batch(annotations, prepare, 2))
    assert torch.equal(swapped.maps[0].features, original.maps[0].features)
    media.write_video(annotations.parent / "a.mp4", [media.frame(20 - n) for n in range(12)])
    assert isinstance(looked(batch(annotations, prepare, 0))[0], CacheMiss)


def test_a_batch_may_mix_stored_and_missing_media(
    tmp_path: Path, annotations: Path, host: Any, wan: WanBackbone
) -> None:
    store = store_for(tmp_path / "store", wan, FeatureFormat("native", "int8"))
    build(store, wan, [job for job in jobs_of(annotations) if job.files[0].endswith("a.mp4")])
    root = annotations.parent
    both = chat(video(str(root / "a.mp4")), video(str(root / "b.mp4")))
    mixed = dict(processor(host, wan.config, store).apply_chat_template([both]))
    assert [type(one) for one in looked(mixed)] == [CacheHit, CacheMiss]
    empty = store_for(tmp_path / "empty", wan, FeatureFormat("native", "int8"))
    live = dict(processor(host, wan.config, empty).apply_chat_template([both]))
    for one, other in zip(
        encoded(host, wan, wan.config, mixed).maps, encoded(host, wan, wan.config, live).maps, strict=True
    ):
        assert torch.equal(one.features, other.features)


def test_jobs_of_one_video_are_stored_under_its_own_key(annotations: Path) -> None:
    jobs: list[EncodeJob] = jobs_of(annotations)
    assert {job.kind for job in jobs} == {"video", "pictures"}
    assert all(job.plan().runs == (tuple(range(len(job.key.frames))),) for job in jobs)
