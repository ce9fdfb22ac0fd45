"""Estimated durations for people: no figure is more exact than its estimate."""

from __future__ import annotations


def in_time(seconds: float) -> str:
    """An estimate in minutes or hours: ``about 10 minutes``."""
    if seconds < 60:
        return "under a minute"
    if seconds < 90:
        return "about a minute"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes"
    hours = seconds / 3600
    return f"about {hours:.1f} hours" if hours < 48 else f"about {hours:,.0f} hours"
