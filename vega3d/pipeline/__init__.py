"""Load a model by name and ask it about a video.

    pipeline = vega3d.load("pico")
    print(pipeline.ask("room.mp4", "How many chairs are there?").text)

A model is named by ``pico`` (shipped inside this package), a checkpoint of ours, or a plain host; a backbone
by ``pico`` or the path of its weights.
"""

from vega3d._utils import moved
from vega3d.hosts.loading import device_of
from vega3d.pico import PICO
from vega3d.pipeline.answering import FRAMES, Answer, Chat, Pipeline, attention_of
from vega3d.pipeline.loading import assemble, build, load, load_backbone, without_weights
from vega3d.pipeline.source import NONE, Source, find, require_names, saved, with_backbone

__all__ = [
    "FRAMES",
    "NONE",
    "PICO",
    "Answer",
    "Chat",
    "Pipeline",
    "Source",
    "assemble",
    "attention_of",
    "build",
    "device_of",
    "find",
    "load",
    "load_backbone",
    "require_names",
    "saved",
    "with_backbone",
    "without_weights",
]

__getattr__ = moved.names(__name__, {"Assistant": "vega3d.pipeline:Pipeline"})
