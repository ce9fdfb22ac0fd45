"""Somebody's own host, backbone, fusion and benchmark."""
