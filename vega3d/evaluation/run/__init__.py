"""Runs of benchmarks: samples from disk, answers of a model, a result with errors and provenance."""
