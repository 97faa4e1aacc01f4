"""Slides and their strokes on disk: paired by name or in the order given, never with those of another slide."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_melanoma as nm
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.runs import slide_datasets
from napari_melanoma.slides.notes import SlideNotes, write_notes
from napari_melanoma.slides.reading.detection import find_slides, find_slides_in_order
from napari_melanoma.slides.result_folder import record_slide
from napari_melanoma.slides.tissue_classifier import classifier
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile
from napari_melanoma.slides.tissue_classifier.painted_files import find_painted_slides
from napari_melanoma.slides.tissue_classifier.strokes import STROKES, Stroke, write_strokes


@pytest.fixture
def slide(tmp_path: Path) -> Callable[[str], Path]:
    """Write a small slide of its own content: a name relative to the folder of the test."""

    def write(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rgb = np.random.default_rng(sum(map(ord, name))).integers(150, 255, (64, 64, 3), np.uint8)
        scale = {"resolution": (1e4, 1e4), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(path, rgb, photometric="rgb", tile=(32, 32), metadata=None, **scale)  # type: ignore[arg-type]
        return path

    return write


@pytest.fixture
def strokes(tmp_path: Path) -> Callable[..., Path]:
    """Write a stroke with a class: the name of the file, relative to the folder of the test, and the class."""

    def write(name: str, class_name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_strokes(path, [Stroke("1", class_name, "cells", ((16.0, 16.0),))])
        return path

    return write


def pairs(slides: list[Path], files: list[Path], *, in_order: bool = True) -> dict[str, str]:
    """Return the class that was painted on each slide."""
    painted = find_painted_slides(slides, files, in_order=in_order)
    return {one.path.stem: one.strokes[0].class_name for one in painted}


NAMED = {"a.geojson": "A", "b10.geojson": "B10", "b2.geojson": "B2"}
SUFFIXED = {"a.tif.geojson": "A", "b10 strokes.geojson": "B10", "b2_final.geojson": "B2"}
IN_FOLDERS = {f"{name}/{STROKES}": name.upper() for name in ("a", "b10", "b2")}
EXPECTED = {"a": "A", "b2": "B2", "b10": "B10"}


@pytest.mark.parametrize("files", [NAMED, SUFFIXED, IN_FOLDERS], ids=["names", "longer names", "result folders"])
def test_files_with_the_names_of_slides_are_paired_in_any_order(
    files: dict[str, str], slide: Callable[[str], Path], strokes: Callable[..., Path]
) -> None:
    slides = [slide(f"slides/{name}.tif") for name in ("a", "b10", "b2")]
    written = [strokes(f"files/{name}", of_class) for name, of_class in files.items()]
    for ordered in permutations(slides):
        for given in permutations(written):
            assert pairs(list(ordered), list(given)) == EXPECTED
    assert pairs(slides, written, in_order=False) == EXPECTED


def test_other_names_are_paired_in_the_order_given(slide: Callable[[str], Path], strokes: Callable[..., Path]) -> None:
    slides = [slide("b.tif"), slide("a.tif")]
    files = [strokes("first.geojson", "B"), strokes("second.geojson", "A")]
    assert pairs(slides, files) == {"a": "A", "b": "B"}
    assert pairs(slides[::-1], files[::-1]) == {"a": "A", "b": "B"}
    with pytest.raises(InputError, match=r"first\.geojson, second\.geojson cannot be assigned to slides that"):
        pairs(slides, files, in_order=False)


def test_slides_keep_their_order_when_painted_files_are_found(slide: Callable[[str], Path]) -> None:
    slides = [slide("slides/b10.tif"), slide("slides/b2.tif"), slide("other/a.tif")]
    assert find_slides_in_order([slides[0], slides[2], slides[1], slides[0]]) == [slides[0], slides[2], slides[1]]
    assert find_slides_in_order([slides[0].parent, slides[2]]) == [slides[1], slides[0], slides[2]]
    assert find_slides(slides) == [slides[2], slides[1], slides[0]]


REFUSED = {
    "another's": (
        ("b.geojson", "x.geojson"),
        r"b\.geojson would be the strokes of a\.tif by the order given, but is n",
    ),
    "longer name": (("x.geojson", "a_2.geojson"), r"a_2\.geojson would be the strokes of b\.tif .* named after a\.tif"),
    "one file twice": (("a.geojson", "a.geojson"), r"a\.geojson would be the strokes of b\.tif"),
    "a strange file twice": (("x.geojson", "x.geojson"), r"x\.geojson would be the strokes of a\.tif and b\.tif"),
    "too few": (("a.geojson",), "found 1 file of strokes for 2 slides"),
    "result folder": ((f"b/{STROKES}", "x.geojson"), r"b would be the strokes of a\.tif .* named after b\.tif"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_of_other_slides_are_refused(
    case: str, slide: Callable[[str], Path], strokes: Callable[..., Path]
) -> None:
    names, message = REFUSED[case]
    slides = [slide("a.tif"), slide("b.tif")]
    with pytest.raises(InputError, match=message):
        find_painted_slides(slides, [strokes(f"files/{name}", "A") for name in names])


def test_strokes_in_a_result_folder_belong_to_its_slide(
    slide: Callable[[str], Path], strokes: Callable[..., Path], tmp_path: Path
) -> None:
    slides = [slide("a.tif"), slide("b.tif")]
    files = [strokes(f"results/one/{STROKES}", "A"), strokes(f"results/two/{STROKES}", "B")]
    for path, of in zip(files, slides, strict=True):
        record_slide(path.parent, of)
    for given in (files, files[::-1], [path.parent for path in files[::-1]]):
        assert pairs(slides, given) == {"a": "A", "b": "B"}
    shutil.rmtree(tmp_path / "results" / "two")
    with pytest.raises(InputError, match=r"one would be the strokes of b\.tif by the order given"):
        pairs(slides, [strokes("x.geojson", "B"), files[0]])


def test_slides_of_one_name_take_the_file_beside_them(
    slide: Callable[[str], Path], strokes: Callable[..., Path]
) -> None:
    slides = [slide("one/a.tif"), slide("two/a.tif")]
    files = [strokes("one/a.geojson", "A"), strokes("two/a.geojson", "B")]
    for given in (files, files[::-1]):
        painted = find_painted_slides(slides, given)
        assert [(one.path, one.strokes[0].class_name) for one in painted] == [(slides[0], "A"), (slides[1], "B")]


def test_folders_have_a_file_for_each_slide(slide: Callable[[str], Path], strokes: Callable[..., Path]) -> None:
    slides = [slide("slides/b.tif"), slide("slides/a.tif")]
    strokes("slides/a.geojson", "A")
    stray = strokes(f"slides/{STROKES}", "B")
    assert pairs(slides[1:], []) == {"a": "A"}  # its name first
    assert pairs(slides[:1], []) == {"b": "B"}
    other = slide("slides/c.tif")
    with pytest.raises(InputError, match=r"strokes\.geojson would be the strokes of b\.tif and c\.tif"):
        pairs([*slides, other], [])
    stray.unlink()
    strokes("slides/b.geojson", "B")
    assert pairs(slides, []) == pairs(slides, [slides[0].parent]) == {"a": "A", "b": "B"}
    with pytest.raises(InputError, match="found files and folders of strokes"):
        pairs(slides, [slides[0].parent, slides[0].with_suffix(".geojson")])
    with pytest.raises(InputError, match=r"nothing\.geojson do not exist"):
        pairs(slides, [slides[0].with_name("nothing.geojson")])
    with pytest.raises(InputError, match="a slide is specified twice"):
        pairs([slides[0], slides[0]], [])


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The class painted on each slide, as fitting and training receive them; neither is started."""
    received: list[dict[str, str]] = []

    def capture(painted: list[PaintedSlideFile], *_: object, **__: object) -> None:
        received.append({one.path.stem: one.strokes[0].class_name for one in painted})
        raise InputError("the test ends here. Continue.")

    monkeypatch.setattr(classifier, "fit_tissue_classifier", capture)
    monkeypatch.setattr(slide_datasets, "prepare_network", capture)
    return received


@pytest.mark.parametrize("way", ["tissue fit", "tissue train", "Python"])
def test_all_ways_pair_in_the_order_given(
    way: str,
    captured: list[dict[str, str]],
    slide: Callable[[str], Path],
    strokes: Callable[..., Path],
    run: Callable[..., Any],
) -> None:
    """The command line lists slides in natural order, strokes in the order given."""
    slides = [slide("b.tif"), slide("a.tif")]
    files = [strokes("first.geojson", "B"), strokes("second.geojson", "A")]
    for step in (1, -1):
        given, painted = slides[::step], files[::step]
        if way == "Python":
            with pytest.raises(InputError, match="the test ends here"):
                nm.fit_tissue_classifier(given, painted, folder="model")
        else:
            words = [word for path in painted for word in ("--strokes", path)]
            assert "the test ends here" in run(*way.split(), *given, *words, "--out", "model").output
    assert captured == [{"a": "A", "b": "B"}] * 2


def test_python_refuses_slides_without_an_order(slide: Callable[[str], Path], strokes: Callable[..., Path]) -> None:
    files = [strokes("first.geojson", "B"), strokes("second.geojson", "A")]
    with pytest.raises(InputError, match="cannot be assigned to slides that are specified as a folder, a pattern or"):
        nm.fit_tissue_classifier({slide("a.tif"), slide("b.tif")}, files, folder="model")


def test_the_scale_that_a_user_has_set_in_the_dock_counts(
    slide: Callable[[str], Path], strokes: Callable[..., Path], tmp_path: Path
) -> None:
    path = slide("a.tif")
    record_slide(tmp_path / "a", path)
    strokes(f"a/{STROKES}", "A")
    write_notes(tmp_path / "a", SlideNotes(pixel_size=PixelSize(0.5, 0.5, "ruler")))
    (painted,) = find_painted_slides([path], [tmp_path])
    assert painted.pixel_size == PixelSize(0.5, 0.5, "ruler")
    stated = PixelSize(2.0, 2.0)
    assert find_painted_slides([path], [tmp_path], stated)[0].pixel_size == stated
