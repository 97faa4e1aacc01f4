"""Rulers in photographs: drawn ones of known scale, phantoms, what only resembles a ruler, and marked photographs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_melanoma.imaging.ruler import find_ruler
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom
from napari_melanoma.samples.catalog import load_samples

Rgb = NDArray[np.uint8]
TRUTH = Path(__file__).parents[2] / "benchmarks/truth"
SKIN, PRINT = (222, 184, 165), (45, 35, 35)
OVER = 4  # drawn larger and reduced, so that lines have soft edges


@dataclass(frozen=True)
class Drawn:
    """A scale on skin: in units of ``unit_px``, with longer ticks at each ``longer``th; positions are (row, column)."""

    start: tuple[float, float] = (300.0, 90.0)
    degrees: float = -4.0
    unit_px: float = 3.9
    units: int = 100
    longer: tuple[int, ...] = (5, 10)
    lengths: tuple[float, ...] = (6.0, 12.0, 22.0)  # of the shortest ticks and of the longer ones, in pixels
    line: bool = True
    color: tuple[int, int, int] = PRINT
    skin: tuple[int, int, int] = SKIN

    @property
    def end(self) -> tuple[float, float]:
        angle, length = math.radians(self.degrees), self.units * self.unit_px
        return self.start[0] + length * math.sin(angle), self.start[1] + length * math.cos(angle)

    def draw(self, shape: tuple[int, int] = (400, 600)) -> Rgb:
        image = Image.new("RGB", (shape[1] * OVER, shape[0] * OVER), self.skin)
        pen, angle = ImageDraw.Draw(image), math.radians(self.degrees)
        along, across = (math.sin(angle), math.cos(angle)), (-math.cos(angle), math.sin(angle))

        def stroke(start: tuple[float, float], end: tuple[float, float]) -> None:
            pen.line([((x + 0.5) * OVER, (y + 0.5) * OVER) for y, x in (start, end)], self.color, round(1.4 * OVER))

        if self.line:
            stroke(self.start, self.end)
        for unit in range(self.units + 1):
            length = self.lengths[sum(unit % one == 0 for one in self.longer)]
            foot = [position + unit * self.unit_px * step for position, step in zip(self.start, along, strict=True)]
            tip = [position + length * step for position, step in zip(foot, across, strict=True)]
            stroke((foot[0], foot[1]), (tip[0], tip[1]))
        small = np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BOX), np.float64)
        noise = np.random.default_rng(7).normal(0, 3, (*shape, 1))
        return np.clip(small + noise, 0, 255).astype(np.uint8)


CASES = {
    "dark, with a line": Drawn(),
    "ticks only": Drawn(line=False),
    "light on dark skin": Drawn(color=(240, 235, 230), skin=(90, 60, 50)),
    "steep": Drawn(start=(380.0, 180.0), degrees=-62.0),
    "ticks to the other side": Drawn(start=(60.0, 500.0), degrees=176.0),
    "its shortest ticks are not resolved": Drawn(unit_px=2.1, lengths=(3.0, 7.0, 14.0)),
    "partly outside": Drawn(start=(300.0, -60.0)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_scale_of_a_drawn_ruler(case: Drawn) -> None:
    found = find_ruler(case.draw(), "dermoscopic")
    assert found is not None
    assert found.px_per_mm == pytest.approx(10 * case.unit_px, rel=0.005)
    assert found.pixel_size.source == "ruler"
    assert found.pixel_size_um == pytest.approx((1000 / found.px_per_mm,) * 2)
    assert found.confidence > 0.75
    # Its ends are on ticks at whole millimeters
    angle = math.radians(case.degrees)
    for row, column in (found.start, found.end):
        along = (row - case.start[0]) * math.sin(angle) + (column - case.start[1]) * math.cos(angle)
        across = (row - case.start[0]) * math.cos(angle) - (column - case.start[1]) * math.sin(angle)
        millimeters = along / (10 * case.unit_px)
        assert millimeters == pytest.approx(round(millimeters), abs=0.04)
        assert abs(across) < case.lengths[2]
    np.testing.assert_allclose(found.ticks[[0, -1]], [found.start, found.end])
    assert len(found.ticks) == round(found.millimeters / found.tick_mm) + 1


def test_a_whole_scale_is_proposed_from_end_to_end() -> None:
    case = CASES["dark, with a line"]
    found = find_ruler(case.draw(), "dermoscopic")
    assert found is not None
    assert found.millimeters == 10
    ends = sorted((found.start, found.end), key=lambda point: point[1])
    np.testing.assert_allclose(ends, [case.start, case.end], atol=1.5)


def jpeg(rgb: Rgb) -> Rgb:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def resized(factor: float) -> Callable[[Rgb], Rgb]:
    def resize(rgb: Rgb) -> Rgb:
        size = (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor))
        return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))

    return resize


CHANGES: dict[str, tuple[Callable[[Rgb], Rgb], float]] = {
    "turned by 90 degrees": (lambda rgb: np.rot90(rgb).copy(), 1),
    "upside down": (lambda rgb: rgb[::-1, ::-1].copy(), 1),
    "mirrored": (lambda rgb: rgb[:, ::-1].copy(), 1),
    "twice the size": (resized(2), 2),
    "five times the size": (resized(5), 5),
    "three quarters of the size": (resized(0.75), 0.75),
    "darker": (lambda rgb: (rgb * 0.6).astype(np.uint8), 1),
    "strongly compressed": (jpeg, 1),
    "a view of memory in another order": (lambda rgb: np.asfortranarray(rgb), 1),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.slow
def test_the_scale_follows_the_size_of_the_photograph_alone(name: str) -> None:
    change, factor = CHANGES[name]
    rgb = Drawn().draw()
    before, after = find_ruler(rgb, "dermoscopic"), find_ruler(change(rgb), "dermoscopic")
    assert before is not None
    assert after is not None
    assert after.px_per_mm == pytest.approx(factor * before.px_per_mm, rel=0.005)
    assert after.millimeters == before.millimeters


def test_the_field_and_the_type_decide_between_millimeters_and_tenths() -> None:
    overview = Drawn(unit_px=3.9, units=120, lengths=(8, 14, 24)).draw((400, 640))  # 164 mm wide, or 16.4
    of_type = {kind: find_ruler(overview, kind) for kind in ("dermoscopic", "macroscopic")}
    assert {kind: found and round(found.px_per_mm, 1) for kind, found in of_type.items()} == {
        "dermoscopic": 39.0,
        "macroscopic": 3.9,
    }
    close = Drawn(unit_px=13.0, units=40, lengths=(14, 24, 40)).draw((400, 640))  # 49 mm wide: 4.9 is no field
    found = find_ruler(close)
    assert found is not None
    assert found.px_per_mm == pytest.approx(13.0, rel=0.005)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.slow
def test_the_ruler_of_a_phantom_is_right_or_absent(seed: int) -> None:
    for modality, size in (("macroscopic", (360, 480)), ("dermoscopic", (450, 600))):
        options = {"seed": seed, "modality": modality, "size": size, "artefacts": {"ruler": True}}
        phantom = lesion_phantom(LesionPhantomConfig.parse(options, "the test"))
        found = find_ruler(phantom.rgb)
        if found is not None:
            assert found.pixel_size.x_um == pytest.approx(phantom.pixel_size.x_um, rel=0.01)
        assert found is not None or modality == "dermoscopic"


def blank() -> Rgb:
    return Drawn(units=0, lengths=(0, 0, 0), line=False).draw()


def drawing(draw: Callable[[ImageDraw.ImageDraw], None]) -> Rgb:
    image = Image.fromarray(blank())
    draw(ImageDraw.Draw(image))
    return np.asarray(image)


def equal_ticks(pen: ImageDraw.ImageDraw) -> None:
    for tick in range(40):
        pen.line([(60 + 12 * tick, 300), (60 + 12 * tick, 318)], PRINT, 2)


def mesh(pen: ImageDraw.ImageDraw) -> None:
    for line in range(0, 600, 15):
        pen.line([(line, 0), (line, 400)], (190, 140, 120), 2)
        pen.line([(0, line), (600, line)], (190, 140, 120), 2)


def parallel_hairs(pen: ImageDraw.ImageDraw) -> None:
    positions = np.cumsum(np.random.default_rng(3).uniform(9, 26, 30))
    for index, position in enumerate(positions):
        pen.line([(position, 60 + 7 * (index % 5)), (position + 25, 330 - 11 * (index % 7))], PRINT, 2)


INCHES = {"longer": (2, 4, 8, 16), "lengths": (6.0, 9.0, 13.0, 17.0, 22.0)}
EIGHTHS = {"longer": (2, 4, 8), "lengths": (8.0, 14.0, 20.0, 30.0)}

NO_RULERS: dict[str, Rgb] = {
    "sixteenths of an inch": Drawn(unit_px=6.0, units=80, **INCHES).draw(),
    "sixteenths of an inch, coarse": Drawn(unit_px=10.0, units=48, line=False, **INCHES).draw(),
    "eighths of an inch": Drawn(unit_px=10.0, units=48, **EIGHTHS).draw(),
    "skin": blank(),
    "ticks of one length, whose unit is unknown": drawing(equal_ticks),
    "a line": drawing(lambda pen: pen.line([(40, 300), (560, 290)], PRINT, 2)),
    "a mesh": drawing(mesh),
    "parallel hairs": drawing(parallel_hairs),
    "a black frame": np.pad(blank()[40:-40, 40:-40], ((40, 40), (40, 40), (0, 0))),
    "a sticker": drawing(lambda pen: pen.ellipse((400, 150, 700, 450), (60, 120, 220))),
    "noise": np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8),
    "nothing but black": np.zeros((200, 300, 3), np.uint8),
    "a few pixels": np.full((3, 5, 3), 200, np.uint8),
    "a pixel": np.zeros((1, 1, 3), np.uint8),
    "a strip": np.full((2, 900, 3), 180, np.uint8),
}


@pytest.mark.parametrize("name", NO_RULERS)
@pytest.mark.slow
def test_what_is_no_ruler_gets_no_proposal(name: str) -> None:
    assert find_ruler(NO_RULERS[name], "dermoscopic") is None
    assert find_ruler(NO_RULERS[name]) is None


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["dermoscopic", "macroscopic"])
def test_phantoms_with_hairs_and_bubbles_get_no_proposal(modality: str) -> None:
    for seed in range(20):
        artefacts = {"ruler": False, "hairs": 60, "bubbles": 12, "ink": True}
        options = {"seed": seed, "modality": modality, "size": (450, 600), "artefacts": artefacts}
        assert find_ruler(lesion_phantom(LesionPhantomConfig.parse(options, "the test")).rgb) is None


def marked(collection: str) -> Iterator[tuple[str, float]]:
    """Names and pixels per millimeter of the rulers of a collection that served the development."""
    with (TRUTH / "rulers.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if (row["collection"], row["part"]) == (collection, "development"):
                names = ("start_row", "start_column", "end_row", "end_column")
                top, left, bottom, right = (float(row[name]) for name in names)
                yield row["image"], math.dist((top, left), (bottom, right)) / float(row["millimeters"])


def check_marked(files: Iterable[Path], collection: str) -> None:
    rulers, paths = dict(marked(collection)), {path.stem: path for path in files}
    found = {image: find_ruler(read_photograph(paths[image]).rgb) for image in rulers}
    errors = [one.px_per_mm / rulers[image] - 1 for image, one in found.items() if one is not None]
    assert len(errors) >= 0.8 * len(rulers)
    assert max(map(abs, errors)) < 0.03


@pytest.mark.slow
def test_rulers_that_were_marked_by_hand(shared_data: Path) -> None:
    check_marked((shared_data / "isic2017_sharp/images").iterdir(), "isic2017_sharp")


@pytest.mark.slow
def test_rulers_of_the_samples() -> None:
    examples = (TRUTH.parents[1] / "examples/photographs/images").iterdir()
    check_marked((*(one.path for one in load_samples().values()), *examples), "samples")


@pytest.mark.slow
def test_photographs_without_a_ruler(shared_data: Path) -> None:
    with (TRUTH / "without_ruler.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({tuple(row.values()) for row in rows}) == 200
    for row in rows[::5]:
        (file_,) = (shared_data / row["collection"] / "images").glob(f"{row['image']}.*")
        assert find_ruler(read_photograph(file_).rgb) is None, file_
