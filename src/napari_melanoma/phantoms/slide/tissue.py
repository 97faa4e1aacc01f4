"""The layers of phantom skin, and the structures in its dermis: follicles, glands, vessels, nerves, muscles, scars.

Positions are (along, depth) in micrometers: along the surface of the section, and below it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_melanoma.phantoms.slide.config import TissueKind
from napari_melanoma.phantoms.slide.shapes import Floats, SectionDrawing, blob_outline, tube_outline

STEP_UM = 1.0  # between the samples of a layer


@dataclass(frozen=True)
class SkinLayers:
    """Depths of the borders of layers in micrometers, float64 (position,), every micrometer from ``start``.

    ``top``: surface of the keratin; ``granular``: top of the granular layer, or the base of an ulcer; ``junction``:
    lower border of the epidermis; ``fat``: lower border of the dermis; ``bottom``: lower border of the section.
    """

    start: float
    top: Floats
    granular: Floats
    junction: Floats
    fat: Floats
    bottom: Floats

    @property
    def along(self) -> Floats:
        """Positions of the samples."""
        return self.start + STEP_UM * np.arange(len(self.top))

    @property
    def end(self) -> float:
        """Position of the last sample."""
        return self.start + STEP_UM * (len(self.top) - 1)

    def depth_at(self, depths: Floats, along: Floats) -> Floats:
        """Return the depths of a layer at positions along the section.

        ``along``: micrometers, of any shape; beyond the ends, the last value is used.
        """
        index = ((along - self.start) * (1 / STEP_UM) + 0.5).astype(np.int32)
        return depths.take(index, mode="clip")

    def with_upper_layers(self, top: Floats, granular: Floats, junction: Floats) -> SkinLayers:
        """Return the layers with other upper layers, as a lesion changes them."""
        return replace(self, top=top, granular=granular, junction=junction)


def random_curve(rng: np.random.Generator, count: int, scale_um: float) -> Floats:
    """Generate a smooth random curve with a mean of about 0 and a standard deviation of about 1, float64 (count,).

    ``scale_um``: length of its details.
    """
    nodes = rng.standard_normal(int(count * STEP_UM / scale_um) + 5)
    position = np.arange(count) * (STEP_UM / scale_um) + 1
    first = position.astype(int)
    t = position - first
    a, b, c, d = (nodes[first + shift] for shift in (-1, 0, 1, 2))
    weights = (1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3
    return (a * weights[0] + b * weights[1] + c * weights[2] + d * weights[3]) / 6 * 1.45


def smooth_bump(values: Floats) -> Floats:
    """Return a smooth hill: 1 at 0, and 0 below -1 and above 1."""
    return np.clip(1 - values**2, 0, 1) ** 2


def grow_layers(rng: np.random.Generator, width_um: float, depth_um: float, stretch: float) -> SkinLayers:
    """Generate the layers of healthy skin; ``stretch``: factor by which an oblique section is deeper."""
    count = int(width_um / STEP_UM) + 1
    furrows = rng.uniform(5, 16) * random_curve(rng, count, 220) + 5 * random_curve(rng, count, 60)
    granular = furrows * stretch
    keratin = rng.uniform(14, 40) * (1 + 0.35 * np.clip(random_curve(rng, count, 150), -1.8, 2.2))
    plate = rng.uniform(38, 60) * (1 + 0.12 * random_curve(rng, count, 200))
    junction = granular + (plate + draw_rete_ridges(rng, count)) * stretch
    fat_um = rng.uniform(1500, 2600) * stretch
    fat = fat_um + 0.11 * fat_um * random_curve(rng, count, 700) + 30 * random_curve(rng, count, 90)
    boat = 1 - rng.uniform(0.05, 0.35) * np.abs(np.linspace(-1, 1, count)) ** rng.uniform(4, 9)
    bottom = depth_um * (boat + 0.03 * random_curve(rng, count, 900)) + 8 * random_curve(rng, count, 45)
    bottom = np.minimum(bottom, depth_um * 1.02)
    return SkinLayers(-width_um / 2, granular - keratin * stretch, granular, junction, fat, bottom)


def draw_rete_ridges(rng: np.random.Generator, count: int) -> Floats:
    """Generate the rete ridges of the epidermis, 80 to 115 micrometers apart on average, of varied length and width.

    Returns how far they extend below the epidermis between them, in micrometers, float64 (count,).
    """
    spacing = rng.uniform(80, 115)
    along = np.arange(count) * STEP_UM
    number = int(count * STEP_UM / spacing) + 3
    centers = (np.arange(number) - 0.5 + 0.22 * rng.standard_normal(number)) * spacing
    lengths = rng.uniform(28, 62) * np.clip(1 + 0.45 * rng.standard_normal(number), 0.1, 2.2)
    widths = spacing * np.clip(0.42 + 0.09 * rng.standard_normal(number), 0.24, 0.6)
    skews = 0.25 * rng.standard_normal(number)
    depths = np.zeros(count)
    for center, length, width, skew in zip(centers, lengths, widths, skews, strict=True):
        first, last = max(0, int(center - 2 * width)), min(count, int(center + 2 * width) + 1)
        offset = (along[first:last] - center) / width
        hill = smooth_bump(offset / (1 + skew * np.sign(offset)) / 1.1) ** 0.8
        depths[first:last] = np.maximum(depths[first:last], length * hill)
    kernel = np.exp(-((np.arange(-14, 15) / 6.0) ** 2))
    padded = np.pad(depths, 14, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid") + 2.5 * random_curve(rng, count, 14)


MM = 1000.0  # micrometers


def add_follicle(
    drawing: SectionDrawing, rng: np.random.Generator, layers: SkinLayers, along: float, stretch: float
) -> None:
    """Draw a hair follicle with its gland, from the surface towards the fat, sometimes without its upper part.

    ``along``: position of its opening in micrometers.
    """
    start = float(layers.depth_at(layers.granular, np.array([along]))[0])
    floor = float(layers.depth_at(layers.bottom, np.array([along]))[0])
    length = min(rng.uniform(900, 2300) * stretch, 0.86 * (floor - start))
    if length < 250:
        return
    t = np.linspace(0, 1, max(12, int(length / 18)))
    lean = rng.uniform(-0.42, 0.42)
    sway = rng.uniform(0.02, 0.09) * np.sin(rng.uniform(2, 5) * t + rng.uniform(0, 6)) * t
    path = np.stack([along + length * (lean * t + sway), start - 14 + length * t], axis=1)
    if rng.random() < 0.35:  # the upper part is outside the section plane
        first = int(rng.uniform(0.25, 0.55) * len(t))
        path, t = path[first:], t[first:]
    if rng.random() < 0.7:
        add_gland(drawing, rng, path[int(0.3 * len(path))], rng.choice([-1, 1]))
    _add_hair(drawing, rng, path, t)


def _add_hair(drawing: SectionDrawing, rng: np.random.Generator, path: Floats, t: Floats) -> None:
    """Draw outer sheath, inner sheath, shaft and papilla along a path; ``t`` is 0 at the surface and 1 at the bulb."""
    thickness = rng.uniform(28, 50)
    bulb = 1 + 0.75 * np.exp(-(((t - 0.93) / 0.07) ** 2)) - 0.7 * np.clip((t - 0.965) / 0.035, 0, 1)
    funnel = 1 + 1.1 * np.exp(-t / 0.05)
    drawing.add(TissueKind.SHEATH, tube_outline(path, thickness * bulb * (0.85 + 0.15 * funnel)), "basal", 6.2)
    upper, inner, shaft = t < 0.1, (t > 0.16) & (t < 0.9), t < 0.84
    if upper.sum() > 2:
        drawing.add(TissueKind.KERATIN, tube_outline(path[upper], thickness * (0.25 + 0.55 * np.exp(-t[upper] / 0.03))))
    if inner.sum() > 3:
        drawing.add(TissueKind.INNER_SHEATH, tube_outline(path[inner], np.full(inner.sum(), 0.42 * thickness)))
    if shaft.sum() > 3:
        drawing.add(TissueKind.HAIR, tube_outline(path[shaft], np.full(shaft.sum(), 0.24 * thickness)))
    tip = path[np.searchsorted(t, 0.945)]
    drawing.add(
        TissueKind.DERMIS,
        blob_outline(rng, (float(tip[0]), float(tip[1]) + 12), (0.3 * thickness, 0.75 * thickness), 0.05),
    )


def add_gland(drawing: SectionDrawing, rng: np.random.Generator, at: Floats, side: int) -> None:
    """Draw a sebaceous gland of a few lobules."""
    for number in range(int(rng.integers(2, 6))):
        away = side * (70 + 75 * (number % 3)) + rng.uniform(-20, 20)
        below = 45 * number - 40 + rng.uniform(-20, 20)
        radii = rng.uniform(55, 105), rng.uniform(50, 90)
        drawing.add(
            TissueKind.SEBACEOUS,
            blob_outline(rng, (float(at[0] + away), float(at[1] + below)), radii, 0.13),
            "basal",
            8.5,
            False,
        )


def add_sweat_gland(drawing: SectionDrawing, rng: np.random.Generator, center: tuple[float, float]) -> None:
    """Draw the coil of a sweat gland: a cluster of cross-cut tubules with a lumen."""
    count = int(rng.integers(7, 15))
    turn = 2.4 * np.arange(count) + rng.uniform(0, 6)
    reach = 46 * np.sqrt(np.arange(count) + 0.4)
    for angle, distance in zip(turn, reach, strict=True):
        at = center[0] + distance * np.cos(angle), center[1] + 0.75 * distance * np.sin(angle)
        radius = rng.uniform(19, 27)
        radii = radius * rng.uniform(0.9, 1.5), radius
        drawing.add(TissueKind.ECCRINE, blob_outline(rng, at, radii, 0.08), "gland", 6.5)
        drawing.add(TissueKind.LUMEN, blob_outline(rng, at, (0.3 * radii[0], 0.3 * radii[1]), 0.15))


def add_vessel(drawing: SectionDrawing, rng: np.random.Generator, center: tuple[float, float], radius: float) -> None:
    """Draw a vessel of a radius in micrometers: a wall with flat nuclei, and blood or an empty lumen."""
    radii = radius * rng.uniform(0.9, 2.2), radius
    wall = rng.uniform(2.5, 4.5) + 0.1 * radius
    drawing.add(
        TissueKind.WALL,
        blob_outline(rng, center, (radii[0] + wall, radii[1] + wall), 0.08),
        "endothelium",
        11 + 0.1 * radius,
        False,
    )
    drawing.add(TissueKind.BLOOD if rng.random() < 0.6 else TissueKind.LUMEN, blob_outline(rng, center, radii, 0.1))


def add_nerve(drawing: SectionDrawing, rng: np.random.Generator, center: tuple[float, float]) -> None:
    """Draw a small nerve."""
    radius = rng.uniform(18, 40)
    drawing.add(
        TissueKind.NERVE,
        blob_outline(rng, center, (radius * rng.uniform(1, 2.4), radius), 0.08),
        "endothelium",
        16,
        False,
    )


def add_muscle(drawing: SectionDrawing, rng: np.random.Generator, center: tuple[float, float]) -> None:
    """Draw a bundle of smooth muscle, such as one that raises a hair."""
    t = np.linspace(-1, 1, 30)
    length, lean = rng.uniform(180, 380), rng.uniform(-0.9, 0.9)
    path = np.stack([center[0] + length * t, center[1] + length * lean * t + 18 * np.sin(3 * t)], axis=1)
    drawing.add(TissueKind.MUSCLE, tube_outline(path, rng.uniform(22, 42) * np.sqrt(np.clip(1.02 - t**2, 0.01, 1))))


def add_infiltrate(
    drawing: SectionDrawing, rng: np.random.Generator, center: tuple[float, float], radii: tuple[float, float]
) -> None:
    """Draw a cluster of lymphocytes."""
    drawing.add(TissueKind.INFILTRATE, blob_outline(rng, center, radii, 0.3))


def add_scars(
    drawing: SectionDrawing, rng: np.random.Generator, layers: SkinLayers, masses: list[Floats], share: float
) -> None:
    """Draw patches of cellular scar beside and below tumors, with the same colors but other cells.

    ``masses``: middle along the section, half width and depth of each melanoma. ``share``: area of the scar as a share
    of that of the melanoma.
    """
    for middle, half_width, tumor_depth in masses:
        remaining_area = share * 1.5 * half_width * tumor_depth
        for _ in range(400):
            radius = min(rng.uniform(0.25, 0.5) * np.sqrt(half_width * tumor_depth), 550.0)
            radii = radius * rng.uniform(1.0, 1.8), radius
            along = rng.uniform(layers.start + 0.3 * radii[0], layers.end - 0.3 * radii[0])
            floor = float(layers.depth_at(layers.bottom, np.array([along]))[0])
            depth = rng.uniform(150 + radius, max(floor - 0.6 * radius, 160 + radius))
            distance = np.hypot((along - middle) / (half_width + 0.8 * radii[0]), depth / (tumor_depth + 0.8 * radius))
            if remaining_area <= 0:
                break
            if distance > 1:
                drawing.add(TissueKind.STROMA, blob_outline(rng, (along, depth), radii, 0.3))
                remaining_area -= 1.7 * radii[0] * radii[1]  # less than the area: patches overlap, or are cut off


def fill_dermis(
    drawing: SectionDrawing, rng: np.random.Generator, layers: SkinLayers, amounts: dict[str, float]
) -> None:
    """Fill the dermis of a section with vessels, glands, nerves, muscles, inflammation and follicles.

    ``amounts``: ``follicles`` per mm, ``inflammation`` from 0 to 1, and ``stretch``, the factor by which an oblique
    section is deeper.
    """
    width_mm = (layers.end - layers.start) / MM

    def random_position(min_depth: float, max_depth: float) -> tuple[float, float]:
        along = float(rng.uniform(layers.start + 60, layers.end - 60))
        floor = float(layers.depth_at(layers.bottom, np.array([along]))[0]) - 60
        return along, float(np.clip(rng.uniform(min_depth, max_depth), 120, max(floor, 130)))

    for number in range(int(9 * width_mm)):
        add_vessel(drawing, rng, random_position(130, 420), rng.uniform(4, 11))
        if number % 3 == 0:
            add_vessel(drawing, rng, random_position(500, 2600), rng.uniform(10, 34))
    for _ in range(int(0.9 * width_mm)):
        add_sweat_gland(drawing, rng, random_position(900, 2400))
        add_nerve(drawing, rng, random_position(500, 2500))
        add_muscle(drawing, rng, random_position(350, 1100))
    for _ in range(round((2 + 7 * amounts["inflammation"]) * width_mm)):
        size = rng.uniform(14, 30 + 40 * amounts["inflammation"])
        add_infiltrate(drawing, rng, random_position(190, 900), (size * rng.uniform(0.8, 2.4), size))
    for _ in range(rng.poisson(amounts["follicles"] * width_mm)):
        along = float(rng.uniform(layers.start + 120, layers.end - 120))
        add_follicle(drawing, rng, layers, along, amounts["stretch"])
