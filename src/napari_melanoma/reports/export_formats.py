"""The export formats for results of slides: the menu of the Slide dock, the command line and the writers read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.plugins import Family, expect
from napari_melanoma.core.validity import Validity, read_validity

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseLesion, CasePatient
    from napari_melanoma.depth.synoptic import SynopticReport
    from napari_melanoma.reports.ome_zarr import OmeVersion
    from napari_melanoma.slides.lesions import SlideLesion


class NothingToExportError(InputError):
    """Raised if a slide or lesion has no content for a format, such as no synoptic report; others are exported."""


@dataclass(frozen=True)
class ExportedSlide:
    """The results of a slide, or the synoptic report of a lesion of a case, for export.

    ``lesions``: None before its analysis is complete. ``content``: of ``result.json``, with the lesions. ``slide``: its
    file, if known. ``with_invalid_depth``: whether a predicted depth that is not valid is exported, with the reason.
    ``synoptic``, ``patient``: of a lesion of a case, for which nothing else is exported. ``changes``: of the lesion
    since the signature. ``lesion``: the one that the slide belongs to in a case, if known. ``slide_folder``: the folder
    of the slide, if ``folder`` has the results of a view.
    """

    folder: Path
    lesions: tuple[SlideLesion, ...] | None
    content: Mapping[str, Any]
    slide: Path | None = None
    personal: bool = False  # whether synoptic reports contain names of readers, and times
    with_invalid_depth: bool = True
    synoptic: SynopticReport | None = None
    changes: tuple[str, ...] = ()
    patient: CasePatient | None = None
    lesion: CaseLesion | None = None
    ome_zarr: OmeVersion = "0.5"
    slide_folder: Path | None = None
    reader: str | None = None  # whose findings a draft contains; by default those of who edited it last

    @property
    def readers_folder(self) -> Path:
        """The folder of what readers have stored for the slide: findings, regions, measurements and scale."""
        return self.slide_folder or self.folder

    @property
    def required_lesions(self) -> tuple[SlideLesion, ...]:
        """The lesions, possibly none; raises an error if the analysis is not complete."""
        if self.lesions is None:
            raise InputError(f"{self.folder.name}: there are no lesions yet. Complete the analysis of the slide first.")
        return self.lesions

    @property
    def validity(self) -> Validity:
        return read_validity(self.content)


class ExportFormat(NamedTuple):
    """A format: its title, the default file name, and what is exported.

    ``subject``: results of an analysis, of which the dock may show those of the slide or of a view; others are stored
    once for a slide. A report is of depth and risk. ``write``: writes the file, and returns what the file lacks of the
    results, as a sentence for the user, if it lacks anything; None for the formats of this package, whose writers are
    in ``reports.slide_export``. ``others``: other suffixes of the file, by which the writer selects the content.
    """

    title: str
    file_name: str
    subject: Literal["analysis", "depth", "counts", "risk", "synoptic", "report"] = "analysis"
    write: Callable[[Path, ExportedSlide], str | None] | None = None
    others: tuple[str, ...] = ()

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes that the file may have, the default first."""
        return (self.file_name.removeprefix(self.file_name.partition(".")[0]), *self.others)


FORMATS = {
    "geojson": ExportFormat("Outlines for QuPath (GeoJSON)", "lesions.geojson"),
    "csv": ExportFormat("Table of lesions (CSV, Parquet)", "lesions.csv", others=(".parquet",)),
    "qupath": ExportFormat("Measurement table as of QuPath (TSV)", "objects.tsv"),
    "tiles": ExportFormat("Table of tiles (Parquet)", "tiles.parquet"),
    "depth": ExportFormat("Depth readings (CSV)", "readings.csv", "depth"),
    "counts": ExportFormat("Measurements and counts (CSV, JSON)", "measurements.csv", "counts", others=(".json",)),
    "report": ExportFormat("Report of depth and risk (HTML)", "report.html", "report"),
    "tif": ExportFormat("Heatmap (OME-TIFF)", "heatmap.ome.tif"),
    "zarr": ExportFormat("Heatmap and lesions (OME-Zarr)", "heatmap.ome.zarr"),
    "spatialdata": ExportFormat("Tiles, tissue, lesions and regions (SpatialData)", "slide.spatialdata.zarr"),
    "mask": ExportFormat("Mask of lesions (OME-TIFF)", "lesions.ome.tif"),
    "dicom": ExportFormat("Segmentation (DICOM)", "lesions.dcm"),
    "dicom-sr": ExportFormat("Measurement report (DICOM SR)", "measurements.dcm"),
}


def _convert(name: str, found: object) -> ExportFormat:
    chosen = expect(found, ExportFormat, "with a function write(path, exported)")
    if not callable(chosen.write):
        raise TypeError("expected an ExportFormat with a function write(path, exported), found none")
    return chosen


# In menus and in the help; the formats of other packages follow.
ORDER = (
    *("geojson", "csv", "qupath", "tiles", "depth", "counts", "risk", "synoptic", "fhir", "report", "tif", "zarr"),
    *("spatialdata", "mask", "dicom", "dicom-sr"),
)
EXPORTS = Family("exports", lambda: FORMATS, _convert, lambda format_: format_.title, ORDER)


def find_export(name: str) -> tuple[ExportFormat, str]:
    """Return a format and the name of its file; the format may have another suffix of it, as in ``csv.parquet``."""
    format_name, dot, suffix = name.partition(".")
    found = EXPORTS.members.get(format_name)
    if found is None or (dot and f".{suffix}" not in found.suffixes):
        names = [*EXPORTS.members, *(f"{one}{suffix}" for one, of in EXPORTS.members.items() for suffix in of.others)]
        reason = EXPORTS.explain_unknown(name) or f"Expected one of: {', '.join(names)}."
        raise ConfigError(f"unknown format '{name}'. {reason}")
    return found, found.file_name.partition(".")[0] + (f".{suffix}" if dot else found.suffixes[0])
