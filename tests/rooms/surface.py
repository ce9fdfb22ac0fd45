"""An independent second look at a scene: points sampled on surfaces, nothing from rooms.relations."""

from __future__ import annotations

import numpy as np

from vega3d.rooms.scene import Instance, Primitive


def sample_primitive(p: Primitive, step: float = 0.04) -> np.ndarray:
    """(N, 3) world points on the surface of a primitive, about ``step`` metres apart."""
    w, d, h = p.box.size
    if p.shape == "sphere":
        local = _sphere(w / 2, step)
    else:
        local = _box(w, d, h, step) if p.shape == "box" else _cylinder(w / 2, h, step)
    c, s = np.cos(p.box.yaw), np.sin(p.box.yaw)
    x, y, z = local.T
    world = np.stack([x * c - y * s, x * s + y * c, z], axis=1)
    return world + np.asarray(p.box.centre)


def sample(thing: Instance, step: float = 0.04) -> np.ndarray:
    return np.concatenate([sample_primitive(p, step) for p in thing.primitives])


def _line(length: float, step: float) -> np.ndarray:
    return np.linspace(-length / 2, length / 2, max(2, int(np.ceil(length / step)) + 1))


def _box(w: float, d: float, h: float, step: float) -> np.ndarray:
    x, y, z = (_line(v, step) for v in (w, d, h))
    faces = []
    for sign in (-0.5, 0.5):
        faces += [([sign * w], y, z), (x, [sign * d], z), (x, y, [sign * h])]
    return np.concatenate([np.stack(np.meshgrid(*f, indexing="ij"), -1).reshape(-1, 3) for f in faces])


def _cylinder(r: float, h: float, step: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, max(12, int(2 * np.pi * r / step)), endpoint=False)
    radii = np.linspace(0, r, max(2, int(np.ceil(r / step)) + 1))
    rings = [(radius, z) for radius in radii for z in (-h / 2, h / 2)] + [(r, z) for z in _line(h, step)]
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.concatenate([np.c_[radius * circle, np.full(len(angle), z)] for radius, z in rings])


def _sphere(r: float, step: float) -> np.ndarray:
    n = max(200, int(4 * np.pi * r**2 / step**2))
    i = np.arange(n) + 0.5
    up, turn = 1 - 2 * i / n, np.pi * (1 + 5**0.5) * i  # a spiral that is even on the sphere
    flat = np.sqrt(1 - up**2)
    return r * np.stack([flat * np.cos(turn), flat * np.sin(turn), up], axis=1)


def closest(a: np.ndarray, b: np.ndarray) -> float:
    """Brute-force closest distance of two point sets, (N, 3) and (M, 3)."""
    best = np.inf
    for start in range(0, len(a), 500):
        part = a[start : start + 500]
        square = (part**2).sum(1)[:, None] + (b**2).sum(1) - 2 * part @ b.T
        best = min(best, float(square.min()))
    return float(np.sqrt(max(best, 0.0)))
