"""One store of features for each arm, over all rooms of a run.

Jobs come from the rows that will be trained on and asked about, by the library's own planner, so what is
stored is just what the processor looks up. A killed build goes on from what its store holds. This module
trains nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import torch

from experiments.miniature.arms import Arm
from experiments.miniature.config import Settings
from experiments.miniature.encoders import WAN
from experiments.miniature.rooms import ROWS, host_frames, load_geometry, videos_of
from experiments.miniature.sources import (
    MiniatureConfig,
    MiniatureEncoder,
    frame_of,
    oracle_channels,
    write,
    written_store,
)
from vega3d import WanBackbone, WanConfig
from vega3d.backbones import Backbone
from vega3d.backbones.base import clip_cost
from vega3d.cache.build import build
from vega3d.cache.jobs import EncodeJob, JobPlanner
from vega3d.config import Vega3DConfig
from vega3d.data import read_rows
from vega3d.errors import StoreError
from vega3d.grid import FeatureMap
from vega3d.inputs.source import plan_video
from vega3d.media.frame_plan import frame_plan
from vega3d.pico import pico_path
from vega3d.registry import backbone_record
from vega3d.store import FeatureStore
from vega3d.store.format import FeatureKey

STORE = "store"


def make_features(
    folder: Path,
    arm: Arm,
    settings: Settings,
    rooms: Path,
    sets: dict[str, Any],
    encoders: Path,
    stores: Path,
) -> dict[str, Any]:
    """Fill the arm's store.

    Args:
        folder: of the stage; the store lies in it.
        arm: whose features.
        settings: of the run.
        rooms: folder of the rooms' stage.
        sets: what that stage says of each set.
        encoders: folder of the encoders' stage.
        stores: folder above the stages of all arms.

    Returns:
        The store's fingerprint, number of runs, channels, bytes, and what it cost.
    """
    start, process = time.monotonic(), time.process_time()
    flops = 0.0
    if arm.source in ("wan", "latents", "host"):
        backbone = load(arm, settings, encoders)
        store = FeatureStore.create(
            folder / STORE, fingerprint=backbone.fingerprint(), backbone=backbone_record(backbone.spec.config)
        )
        report = build(store, backbone, jobs_of(backbone.spec.config, settings, rooms, sets))
        if report.problems:
            raise report.problems[0].error
        if arm.source == "wan":
            size = (settings.rooms.side, settings.rooms.side)
            flops = clip_cost(backbone.spec.config, size, settings.nframes).total
    elif arm.source == "oracle":
        store = _oracle(folder / STORE, settings, rooms, sets)
    else:
        store = _shuffled(folder / STORE, stores / str(arm.reads) / STORE, settings, rooms, sets)
    return {
        "fingerprint": store.fingerprint,
        "runs": len(store),
        "channels": store.backbone["channels"],
        "bytes": sum(file.stat().st_size for file in store.path.glob("*.safetensors")),
        "gflop_a_clip": round(flops / 1e9, 2),
        "clock": {"wall": time.monotonic() - start, "cpu": time.process_time() - process},
    }


def load(arm: Arm, settings: Settings, encoders: Path) -> Backbone:
    """The frozen encoder of an arm that looks at pictures."""
    own = settings.features
    if arm.source == "latents":
        home = encoders / "video" / WAN
        return MiniatureEncoder.from_pretrained(
            home, config=MiniatureConfig("latents", str(home), None, own.pixels)
        )
    if arm.source == "host":
        path = host_path(settings)
        return MiniatureEncoder.from_pretrained(path, config=MiniatureConfig("host", path))
    config = WanConfig(
        block=own.block, sigma=0.0 if arm.clean else own.sigma, mode=arm.mode, window=own.window,
        extra_frames=own.between if arm.mode == "clip" else 0, max_latent_frames=own.length,
        pixels=own.pixels,
    )  # fmt: skip
    return WanBackbone.from_pretrained(encoders / arm.encoder / WAN, config=config)


def host_path(settings: Settings) -> str:
    """Folder of the host."""
    return str(pico_path("host")) if settings.host == "pico" else settings.host


def jobs_of(config: Any, settings: Settings, rooms: Path, sets: dict[str, Any]) -> Iterator[EncodeJob]:
    """Which runs of which videos a generator with this config is asked for, each once."""
    needs, seen = JobPlanner(config), set()
    for name in sets:
        rows = read_rows(rooms / name / ROWS, rooms / name, {"nframes": settings.nframes})
        for found in needs.of(rows):
            for job in found:
                if not isinstance(job, EncodeJob):
                    raise job.error
                if job.key.digest not in seen:
                    seen.add(job.key.digest)
                    yield job


def _oracle(path: Path, settings: Settings, rooms: Path, sets: dict[str, Any]) -> FeatureStore:
    """The place of each token's surface, from the renderer."""
    frames = host_frames(settings.rooms.frames, settings.nframes)
    place: dict[str, tuple[str, int]] = {}
    made = {name: load_geometry(rooms / name) for name in sets}
    for name, found in sets.items():
        for number, video in enumerate(videos_of(rooms / name, found["seeds"])):
            place[video.name] = name, number

    def features_of(job: EncodeJob) -> FeatureMap:
        name, number = place[Path(job.files[0]).name]
        at = frames.index(frame_of(job))
        points, depth = (made[name][key][number, at][None] for key in ("points", "depth"))
        return FeatureMap(oracle_channels(points, depth), ((0,),))

    channels = oracle_channels(*(made["train"][key][0, :1] for key in ("points", "depth"))).shape[0]
    store = written_store(path, "oracle", "the renderer", channels, "points and depth, 8 x 8 cells")
    write(store, jobs_of(MiniatureConfig(), settings, rooms, sets), features_of)
    return store


def _shuffled(
    path: Path, source: Path, settings: Settings, rooms: Path, sets: dict[str, Any]
) -> FeatureStore:
    """The features of the next clip."""
    given = FeatureStore(source)
    jobs = list(jobs_of(MiniatureConfig(), settings, rooms, sets))
    by_place = {(Path(job.files[0]).name, frame_of(job)): job for job in jobs}
    donor = donors(sorted({video for video, _ in by_place}), _trained(rooms, sets))

    def features_of(job: EncodeJob) -> FeatureMap:
        other = donor[Path(job.files[0]).name]
        return _read(given, [by_place[other, frame_of(job)].key], other)

    store = written_store(
        path, "shuffled", str(source), given.backbone["channels"], f"next clip of {given.fingerprint}"
    )
    write(store, jobs, features_of)
    return store


def donors(videos: Sequence[str], trained: Set[str]) -> dict[str, str]:
    """For each video the next one, the last takes the first; trained and held-out rooms do not mix."""
    found: dict[str, str] = {}
    for group in ([v for v in videos if v in trained], [v for v in videos if v not in trained]):
        found |= dict(zip(group, [*group[1:], *group[:1]], strict=True))
    return found


def _trained(rooms: Path, sets: dict[str, Any]) -> set[str]:
    return {video.name for video in videos_of(rooms / "train", sets["train"]["seeds"])}


def clip_features(store: FeatureStore, settings: Settings, rooms: Path, name: str) -> dict[str, torch.Tensor]:
    """For each video of a set the stored features (C, T, h, w) of the host's frames, in their order."""
    config = Vega3DConfig.from_dict({"backbone": store.backbone}).backbone
    found: dict[str, torch.Tensor] = {}
    for row in read_rows(rooms / name / ROWS, rooms / name, {"nframes": settings.nframes}):
        for request in row.videos:
            video = Path(str(request.source)).name
            if video not in found:
                clip = plan_video(request, lambda host: frame_plan(config, host), 2)
                stored = _read(store, clip.keys(store.identity), video, clip.plan.runs)
                described = clip.plan.host_to_generator
                found[video] = torch.stack([_of_frame(stored, frames) for frames in described], dim=1)
    return found


def _of_frame(stored: FeatureMap, link: Sequence[int]) -> torch.Tensor:
    """(C, h, w): the mean of the steps that describe a frame of the host."""
    wanted = set(link)
    steps = [at for at, step in enumerate(stored.frames) if wanted & set(step)]
    return stored.features[:, steps].float().mean(1)


def _read(
    store: FeatureStore,
    keys: Sequence[FeatureKey],
    video: str,
    runs: Sequence[Sequence[int]] | None = None,
) -> FeatureMap:
    found = store.read(keys, runs)
    if found is None:
        raise StoreError(
            f"{store.path} lacks features of {video}.",
            got="a run that is not stored",
            expected="every run of the rooms",
            fix="delete the folder of that stage and run again",
        )
    return found
