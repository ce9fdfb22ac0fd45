"""Does video generation teach a network 3-D that helps a language model? A small experiment.

``PREREGISTRATION.md`` says what is asked and what each outcome would mean; it was written before any result.
One config in ``configs/`` is one run: rooms, encoders, features, probes, fine-tuning, questions, analysis.
"""

from __future__ import annotations

from vega3d.registry import register

NAME, PLACE = "miniature", "experiments.miniature.sources:MiniatureEncoder"


def register_encoders() -> None:
    """Make the study's own frozen encoders known to the library, in this process alone."""
    register("backbones", NAME, PLACE)
