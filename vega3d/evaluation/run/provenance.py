"""Provenance of a result: model, weights, data, versions and settings, JSON-ready.

Decision: nothing here depends on when, where or by how many processes a run was made, so it can be compared
when a run is resumed. Our own weights are hashed as bytes; the host is named by path and revision and
hashed by its configuration only, since reading 16 GB to name them would cost more than many runs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch

from vega3d._version import __version__
from vega3d.evaluation.benchmark import Protocol, Sample
from vega3d.evaluation.media import signature
from vega3d.evaluation.run.model import EvalModel
from vega3d.pipeline import Pipeline

LIBRARIES = ("torch", "transformers", "diffusers", "numpy")
OPTIONS = ("frames", "send", "max_pixels", "label", "max_new_tokens")  # of the model


def settings_of(
    protocol: Protocol, samples: Sequence[Sample], model: EvalModel, *, batch_size: int, swap: bool
) -> dict[str, Any]:
    """All that decides an answer or a score."""
    return {
        "task": protocol.name,
        "task_version": protocol.version,
        "data": {"sha256": data_digest(samples), "questions": len(samples)},
        "model": model_of(model.assistant, model.plain),
        "features": "none" if model.plain else ("another clip's" if swap else "its own"),
        **{name: getattr(model, name) for name in OPTIONS},
        "decoding": "greedy",
        "batch_size": batch_size,
        "device": str(model.assistant.adapter.device.type),
        "versions": {"vega3d": __version__} | {name: version(name) for name in LIBRARIES},
    }


def data_digest(samples: Sequence[Sample]) -> str:
    """SHA-256 of all records, and of name and size of all clips; their pixels are not read."""
    digest = hashlib.sha256()
    for sample in samples:
        row = [sample.id, dict(sample.record), sample.scene, signature(sample.media)]
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def model_of(assistant: Pipeline, plain: bool) -> dict[str, Any]:
    """The model by name and by hashes."""
    model: Any = assistant.adapter
    settings = model.vega3d_config
    host = {
        "path": settings.host.path,
        "revision": settings.host.revision,
        "config_sha256": _text_digest(model.host.config.to_json_string()),
    }
    if plain:
        return {"name": assistant.name, "kind": "plain host", "host": host}
    return {
        "name": assistant.name,
        "kind": "adapter",
        "trained": assistant.trained,
        "host": host,
        "weights_sha256": _tensors_digest(model.own_state()),
        "backbone": model.backbone.fingerprint() if model.backbone is not None else "stored features only",
        "config_sha256": _text_digest(json.dumps(dataclasses.asdict(settings), sort_keys=True, default=str)),
    }


def _tensors_digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
