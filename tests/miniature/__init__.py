"""Tests of experiments/miniature."""
