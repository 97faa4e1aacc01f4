"""Find the strokes of slides on disk, and pair files of strokes with slides by their names or in the order given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import normalize_name
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.paths import real_path
from napari_melanoma.io.discovery import natural_key
from napari_melanoma.io.geojson import SUFFIXES
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.result_folder import open_fingerprint, slide_folder, slide_name, stated_fingerprint
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile
from napari_melanoma.slides.tissue_classifier.strokes import STROKES, read_stroke_file

RENAME = "Name the files after the slides, such as a.geojson for a.svs."


def find_painted_slides(
    slides: Sequence[Path],
    strokes: Sequence[Path] = (),
    pixel_size: PixelSize | None = None,
    *,
    in_order: bool = True,
) -> list[PaintedSlideFile]:
    """Find the strokes of slides on disk.

    ``strokes``: a file, or the result folder, of each slide; or folders with result folders or with files named after
    the slides; by default the folder of each slide, and the results of the Slide dock. Files are paired by their names
    if each is named after another slide, else in the order of the slides. ``pixel_size``: that of the slides; by
    default that which a user has set in the Slide dock, or that of their files. ``in_order``: whether the order of the
    slides was stated.

    Returns the slides in natural order. Raises ``InputError`` for a slide without strokes, and for a file of strokes
    that is named after another slide.
    """
    if missing := [path for path in strokes if not path.exists()]:
        raise InputError(f"the strokes {missing[0]} do not exist. Specify a GeoJSON file for each slide, or folders.")
    if len({real_path(slide) for slide in slides}) < len(slides):
        raise InputError("a slide is specified twice. Specify each slide once, with one file of its strokes.")
    files = [path for path in map(_as_file, strokes) if path.is_file()]
    if files and len(files) < len(strokes):
        raise InputError("found files and folders of strokes. Specify a file for each slide, or folders of files only.")
    paths = _pair_files(slides, files, in_order=in_order) if files else [_find_strokes(one, strokes) for one in slides]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            both = f"{slides[paths.index(path)].name} and {slides[number].name}"
            raise InputError(f"{path} would be the strokes of {both}. {RENAME}")
    found = []
    for slide, path in sorted(zip(slides, paths, strict=True), key=lambda pair: natural_key(pair[0])):
        folder = path.parent if path.name == STROKES else None
        size = pixel_size or (None if folder is None else read_notes(folder).pixel_size)
        with open_slide(slide, size) as opened:
            content = read_stroke_file(path, opened.info.origin)
        found.append(PaintedSlideFile(slide, content.strokes, folder, content.classes, size, content.channels))
    return found


def _as_file(path: Path) -> Path:
    """Return the strokes in the result folder of a slide; other paths are unchanged."""
    return path / STROKES if (path / STROKES).is_file() else path


def _pair_files(slides: Sequence[Path], files: Sequence[Path], *, in_order: bool) -> list[Path]:
    """Return the file of strokes of each slide."""
    if len(files) != len(slides):
        raise InputError(
            f"found {format_count(len(files), 'file')} of strokes for {format_count(len(slides), 'slide')}: expected "
            "one for each slide, in the same order, or folders of files named after the slides."
        )
    owners = [_find_owner(file, slides) for file in files]
    if sorted(-1 if owner is None else owner for owner in owners) == list(range(len(slides))):
        return [files[owners.index(number)] for number in range(len(slides))]
    for slide, file, owner in zip(slides, files, owners, strict=True):
        if owner is not None and slides[owner] != slide:
            raise InputError(
                f"{_written_name(file)} would be the strokes of {slide.name} by the order given, but is named after "
                f"{slides[owner].name}. {RENAME}"
            )
    if not in_order and None in owners:
        names = format_names([_written_name(file) for file, owner in zip(files, owners, strict=True) if owner is None])
        raise InputError(
            f"{names} cannot be assigned to slides that are specified as a folder, a pattern or a set. {RENAME}"
        )
    return list(files)


def _find_owner(file: Path, slides: Sequence[Path]) -> int | None:
    """Return the number of the slide that a file of strokes belongs to; None if it is unknown or ambiguous.

    That is the slide of its result folder, else the one with the longest name that the name of the file begins with.
    """
    if file.name == STROKES and (stated := stated_fingerprint(file.parent)):
        recorded = [number for number, slide in enumerate(slides) if open_fingerprint(slide) == stated]
        if len(recorded) == 1:
            return recorded[0]
    name, names = normalize_name(_written_name(file)), [normalize_name(slide_name(slide)) for slide in slides]
    begins = [one for one in names if name == one or (name.startswith(one) and not name[len(one)].isalnum())]
    longest = max(begins, key=len, default=None)
    owners = [number for number, one in enumerate(names) if one == longest]
    beside = [number for number in owners if slides[number].parent == file.parent]
    return next(iter(beside if len(beside) == 1 else owners if len(owners) == 1 else ()), None)


def _written_name(file: Path) -> str:
    """Return the name of a file of strokes, or that of its result folder."""
    return file.parent.name if file.name == STROKES else file.name


def _find_strokes(slide: Path, locations: Sequence[Path]) -> Path:
    from platformdirs import user_data_path

    searched = locations or [slide.parent, user_data_path("napari-melanoma", appauthor=False) / "slides"]
    for location in searched:
        named = [location / f"{slide_name(slide)}{suffix}" for suffix in SUFFIXES]
        paths = [slide_folder(location, slide) / STROKES, *named, location / STROKES]
        if path := next((path for path in paths if path.is_file()), None):
            return path
    raise InputError(
        f"{slide.name} has no strokes: found neither {STROKES} nor {slide_name(slide)}.geojson in "
        f"{format_names(searched)}. Paint them in the Slide dock or in QuPath, and state their file (Python: strokes, "
        "command line: --strokes FILE)."
    )
