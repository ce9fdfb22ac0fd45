"""Seeded rooms: the things of a room and their places.

Decision: a room is a pure function of (version, seed), drawn with Rng, so it is the same on every
machine. Counts of crowded kinds, sizes and colours are drawn before places are looked for; what finds no
place is left out. Some kinds occur several times, half of their copies look alike: referring to one of
them takes more than its name. This module does not depend on cameras and pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vega3d.errors import ConfigError, unknown_choice
from vega3d.rooms.furniture import COLOURS, KINDS, MATERIALS, Kind
from vega3d.rooms.placement import FloorPlan, Placement
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import ROOMS_VERSION, TEXTURES, Instance, Light, Motion, Room, Surface, parts_in

Size = tuple[float, float, float]

_FLOORS = (
    ("planks", (0.55, 0.40, 0.26), 0.30), ("tiles", (0.72, 0.70, 0.66), 0.25),
    ("weave", (0.48, 0.47, 0.50), 0.15), ("wood", (0.45, 0.32, 0.20), 0.22),
    ("checker", (0.62, 0.58, 0.52), 0.22), ("veins", (0.75, 0.73, 0.72), 0.18),
)  # fmt: skip
_WALLS = (
    ("plain", (0.82, 0.80, 0.74), 0.0), ("noise", (0.74, 0.79, 0.83), 0.05),
    ("stripes", (0.80, 0.74, 0.74), 0.10), ("plain", (0.72, 0.80, 0.72), 0.0),
    ("tiles", (0.80, 0.82, 0.84), 0.10), ("dots", (0.84, 0.80, 0.68), 0.10),
)  # fmt: skip


@dataclass(frozen=True)
class _Wish:
    """A thing to place in a room: its appearance is drawn, its place is not."""

    category: str
    size: Size
    colour: str
    material: str
    moves: bool = False

    @property
    def kind(self) -> Kind:
        return KINDS[self.category]


def make_room(seed: int, version: int = ROOMS_VERSION) -> Room:
    """The room of this seed: 3-8 m on a side, a door, windows, furniture, and clutter on it.

    Args:
        seed: any integer >= 0.
        version: the world that the seed was written down for; a release has one.

    Raises:
        ConfigError: a negative seed, or a version that this release does not have.
    """
    if seed < 0:
        raise ConfigError("Invalid seed of a room: it is negative.", got=seed, expected="an integer >= 0")
    if version != ROOMS_VERSION:
        raise unknown_choice("version of rooms", str(version), [str(ROOMS_VERSION)])
    rng = Rng(ROOMS_VERSION, seed)
    size = (round(rng.real(3.0, 8.0), 3), round(rng.real(3.0, 8.0), 3), round(rng.real(2.5, 3.1), 3))
    floor, walls = _shell(rng, _FLOORS, (0.35, 0.9)), _shell(rng, _WALLS, (0.3, 0.8))
    ceiling = Surface((0.88, 0.88, 0.87), 0, 1.0, 0.0, (0.0, 0.0, 0.0))
    lights = _lights(rng, size)
    ambient = rng.real(0.38, 0.55)
    return Room(seed, size, _furnish(rng, size), floor, walls, ceiling, lights, ambient, shadows=True)


def _lights(rng: Rng, size: Size) -> tuple[Light, ...]:
    """One to three under the ceiling; together about as bright as one."""
    count = rng.whole(1, 4)
    places = [(rng.real(-0.35, 0.35) * size[0], rng.real(-0.35, 0.35) * size[1]) for _ in range(count)]
    return tuple(Light((x, y, size[2] - 0.15), rng.real(0.8, 1.1) / count**0.6) for x, y in places)


def _furnish(rng: Rng, size: Size) -> tuple[Instance, ...]:
    """Openings first, then furniture from large to small, then what hangs and what lies on top."""
    plan = FloorPlan(rng, size)
    placed: list[Instance] = []
    for wish in _wishes(rng, size):
        placement = plan.find(wish.kind, wish.size, moves=wish.moves)
        if placement is not None:
            placed.append(_build(rng, len(placed) + 1, wish, placement))
            plan.add(placed[-1], wish.kind, placement)
    return tuple(placed)


def _wishes(rng: Rng, size: Size) -> list[_Wish]:
    """All things for the room, in the order of placing."""
    room = size[0] * size[1]
    stands = [n for n, k in KINDS.items() if k.place in ("wall", "floor") and n != "robot"]
    hangs = [n for n, k in KINDS.items() if k.place == "hung" and n not in ("door", "window")]
    tops = [n for n, k in KINDS.items() if k.place == "top"]
    first = [_wish(rng, "door"), *_group(rng, "window", rng.whole(1, 3))]
    crowds = rng.some([n for n in stands if KINDS[n].crowd], rng.whole(1, 3))
    furniture = [w for n in crowds for w in _group(rng, n, rng.whole(2, 6 if room > 16 else 4))]
    singles = max(4, min(12, round(room * 0.26)))
    furniture += [_wish(rng, n) for n in rng.some([n for n in stands if n not in crowds], singles)]
    furniture.sort(key=lambda w: (KINDS[w.category].place != "wall", -w.size[0] * w.size[1]))
    movable = [n for n in ("ball", "robot") if n not in crowds]
    movers = rng.some(movable, rng.whole(1, 3)) if rng.chance(0.3) else []
    moving = [replace(_wish(rng, n), moves=True) for n in movers]
    hung = [_wish(rng, n) for n in rng.some(hangs, rng.whole(1, 4))]
    if rng.chance(0.5):
        hung += _group(rng, "picture", rng.whole(1, 4))
    crowd = rng.some(tops, rng.whole(1, 3))
    clutter = [w for n in crowd for w in _group(rng, n, rng.whole(2, 6))]
    clutter += [_wish(rng, n) for n in rng.some([n for n in tops if n not in crowd], rng.whole(2, 6))]
    return first + moving + furniture + hung + clutter


def _group(rng: Rng, category: str, count: int) -> list[_Wish]:
    """Several of a kind; about half of the copies are near-duplicates of the first."""
    first = _wish(rng, category)
    wishes = [first]
    smallest, largest = (side / max(first.size) for side in first.kind.longest)  # in its kind's range
    for _ in range(count - 1):
        other = _wish(rng, category)
        gain = min(max(rng.real(0.9, 1.1), smallest), largest)
        wishes.append(replace(first, size=_scaled(first.size, gain)) if rng.chance(0.5) else other)
    return wishes


def _wish(rng: Rng, category: str) -> _Wish:
    kind = KINDS[category]
    low, high = kind.longest
    longest = low * (high / low) ** rng.real()
    width, depth, height = (rng.real(*span) for span in kind.ratio)
    ratio = (width, width if kind.round else depth, height)
    size = _scaled(ratio, longest / max(ratio))
    return _Wish(category, size, rng.pick(kind.colours), rng.pick(kind.materials))


def _scaled(size: Size, gain: float) -> Size:
    return (size[0] * gain, size[1] * gain, size[2] * gain)


def _build(rng: Rng, number: int, wish: _Wish, placement: Placement) -> Instance:
    """Scale the kind's parts into the placement's box and paint them."""
    texture, periods, contrast = MATERIALS[wish.material]
    phase = (rng.real(), rng.real(), rng.real())
    base, period = toned(COLOURS[wish.colour], (rng.real(0.92, 1.06),) * 3), rng.real(*periods)
    surfaces = []
    for part in wish.kind.parts:
        tone = toned(base if part.colour is None else COLOURS[part.colour], (part.tint,) * 3)
        visible = 0.0 if part.plain or part.colour is not None else contrast
        surfaces.append(Surface(tone, TEXTURES.index(texture), period, visible, phase, part.glow))
    by = placement.by
    motion = None if by is None else Motion((*by, 0.0), rng.real(0.0, 0.3), rng.real(0.6, 1.0))
    parts = parts_in(wish.kind, placement.box, surfaces)
    look = (wish.category, wish.colour, placement.box, parts, wish.material)
    return Instance(number, *look, placement.parent, motion)


def _shell(rng: Rng, choices: tuple[tuple[str, Size, float], ...], period: tuple[float, float]) -> Surface:
    texture, colour, contrast = rng.pick(choices)
    tone = toned(colour, (rng.real(0.85, 1.1), rng.real(0.85, 1.1), rng.real(0.85, 1.1)))
    phase = (rng.real(), rng.real(), rng.real())
    return Surface(tone, TEXTURES.index(texture), rng.real(*period), contrast * rng.real(0.6, 1.2), phase)


def toned(colour: Size, gains: Size) -> Size:
    """A colour brightened or dimmed a channel each, at most white."""
    red, green, blue = (min(1.0, c * gain) for c, gain in zip(colour, gains, strict=True))
    return (red, green, blue)
