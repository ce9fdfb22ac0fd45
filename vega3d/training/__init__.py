"""From conversations to batches that a model is trained on."""

from vega3d.training.collator import IGNORED, Collator, Overlong, assistant_labels

__all__ = ["IGNORED", "Collator", "Overlong", "assistant_labels"]
