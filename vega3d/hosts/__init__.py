"""Language models that can be wrapped; everything specific to a family is in one file."""

from vega3d.hosts.base import (
    MODALITIES,
    HostFamily,
    Modality,
    family_of,
    family_of_processor,
    unwrapped,
)

__all__ = ["MODALITIES", "HostFamily", "Modality", "family_of", "family_of_processor", "unwrapped"]
