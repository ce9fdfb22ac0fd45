"""Rooms on disk, one file a layout; `writer.py` resumes, reports and writes for all of them."""
