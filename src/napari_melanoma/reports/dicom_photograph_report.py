"""Write the result of a DICOM photograph as a measurement report: DICOM SR, template 1500.

Each lesion in the mask is a group with its outline on the image and its measurements; the prediction of a classifier is
a group of its own, since another algorithm made it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.prediction import ClassPrediction
from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.formatting import format_class, format_count, to_sentence
from napari_melanoma.core.geometry import Box, format_scale
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.core.validity import NOTICE, read_validity
from napari_melanoma.imaging.masks import bounding_box, separate_components, trace_polygons
from napari_melanoma.imaging.measurements import MEASUREMENTS
from napari_melanoma.io import dicom_codes as codes
from napari_melanoma.io.dicom import read_modality, read_pixel_size, why_not_a_photograph
from napari_melanoma.io.dicom_codes import Concept
from napari_melanoma.io.dicom_slides import read_dicom_header
from napari_melanoma.io.discovery import find_images_and_tables
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import RESULT
from napari_melanoma.lesion.mask_record import LABELS_LAYER, describe_mask, find_mask_model, is_mask_of_user
from napari_melanoma.lesion.results import read_result, read_result_mask
from napari_melanoma.reports.dicom_groups import (
    GroupBuilder,
    ReportGroup,
    add_interval,
    build_measurement,
    check_identifiers,
    require_highdicom,
    write_document,
)
from napari_melanoma.reports.export_formats import NothingToExportError

if TYPE_CHECKING:
    from pydicom import Dataset


NOT_DICOM = (
    "is not a DICOM photograph: a DICOM measurement report must reference a DICOM image (VL Photographic Image or "
    "Dermoscopic Photography Image). Convert the photograph to DICOM, and analyze that file."
)
CLASSES: Mapping[str, Concept] = {  # by name in lower case; others have private codes
    "melanoma": codes.MELANOMA,
    "malignant": codes.MALIGNANT,
    "benign": codes.BENIGN,
    "actinic keratosis": codes.ACTINIC_KERATOSIS,
    "squamous cell carcinoma": codes.SQUAMOUS_CELL_CARCINOMA,
}
LENGTHS: Mapping[str, tuple[Concept, Concept | None]] = {  # by the name of a measurement without its unit
    "perimeter": (codes.PERIMETER, None),
    "equivalent_diameter": (codes.EQUIVALENT_DIAMETER, None),
    "max_diameter": (codes.DIAMETER, codes.MAXIMUM),
    "min_diameter": (codes.DIAMETER, codes.MINIMUM),
}


@dataclass(frozen=True)
class ExportedPhotograph:
    """The result of a photograph for export.

    ``content``: of ``result.json``. ``photograph``: its file, or a folder with it; None if unknown. ``reader``: name of
    the person who corrected the mask, if known.
    """

    folder: Path
    content: Mapping[str, Any]
    photograph: Path | None = None
    reader: str = ""


def is_photograph_folder(folder: Path) -> bool:
    try:
        return (folder / RESULT).is_file() and "lesion_found" in read_result(folder)
    except InputError:
        return False


def read_exported_photograph(folder: Path, photograph: Path | None = None, reader: str = "") -> ExportedPhotograph:
    return ExportedPhotograph(folder, read_result(folder), photograph, reader)


def write_photograph_report(path: Path, exported: ExportedPhotograph) -> None:
    """Write outline, measurements and prediction of each lesion of a DICOM photograph.

    Patient and study are copied from the header of the photograph, as DICOM requires.
    """
    require_highdicom()
    if not exported.content.get("lesion_found"):
        raise NothingToExportError(f"{exported.folder.name}: there is no lesion to report. Draw or segment one first.")
    # Before the search, during which the result may be saved again
    mask = read_result_mask(exported.folder, exported.content)
    image, header = _find_photograph(exported)
    check_identifiers([header], image.name)
    if mask.shape != (int(header.Rows), int(header.Columns)):
        raise InputError(
            f"mask.png of {exported.folder.name} has {mask.shape[1]} x {mask.shape[0]} pixels, but {image.name} has "
            f"{header.Columns} x {header.Rows}. Analyze the photograph again."
        )
    with warnings.catch_warnings(action="ignore"):  # on values of the photograph's header that are too long
        builder = _PhotographReport(header, exported, mask)
        groups, procedure = list(builder.list_groups()), builder.procedure
        write_document(path, [header], groups, procedure, is_long=builder.has_long_outlines)


def _find_photograph(exported: ExportedPhotograph) -> tuple[Path, Dataset]:
    """Return the photograph of a result and its header; its pixels are checked, and searched for in a folder."""
    place, name = exported.photograph, exported.content.get("image")
    if place is None:
        raise InputError(
            f"the photograph of {exported.folder.name} is required, but its path is not in the results: name its DICOM "
            "file, or the folder that contains it, with --photographs."
        )
    if not place.is_dir():
        header = read_dicom_header(place)
        if header is None:
            raise InputError(f"{place.name} {NOT_DICOM}" if place.exists() else f"{place} does not exist.")
        if fault := why_not_a_photograph(header):
            raise InputError(f"{place.name} {fault}")
        if not _has_pixels(place, header, exported):
            raise InputError(
                f"{place.name} is not the photograph of {exported.folder.name}: its pixels are others. Name the "
                "analyzed DICOM file with --photographs."
            )
        return place, header
    headers = {path: read_dicom_header(path) for path in find_images_and_tables([place])}
    candidates = [(path, header) for path, header in headers.items() if header and not why_not_a_photograph(header)]
    candidates.sort(key=lambda candidate: candidate[0].stem != name)  # those of the same name first
    found = next((candidate for candidate in candidates if _has_pixels(*candidate, exported)), None)
    if found is None:
        raise InputError(
            f"{place} contains no DICOM photograph with the pixels of {exported.folder.name}: searched "
            f"{format_count(len(candidates), 'DICOM photograph')}. Name the analyzed DICOM file with --photographs."
        )
    return found


def _has_pixels(path: Path, header: Dataset, exported: ExportedPhotograph) -> bool:
    """Return whether a DICOM photograph has the pixels of a result; ``header``: its elements."""
    if [int(header.Rows), int(header.Columns)] != list(exported.content.get("image_shape") or ())[:2]:
        return False
    try:
        photograph = read_photograph(path, accept_damaged=True)
    except UnreadableImage:
        return False
    return array_fingerprint(photograph.rgb) == exported.content.get("image_sha256")


class _Lesion(NamedTuple):
    """A lesion in the mask; ``measurements``: by column; ``prediction``: of a classifier, in ``result.json``."""

    name: str
    mask: NDArray[np.bool_]
    measurements: Mapping[str, float | None]
    prediction: Mapping[str, Any] | None


class _PhotographReport(GroupBuilder):
    """Builds the groups of a photograph; ``mask``: bool (row, column), of its lesions."""

    def __init__(self, header: Dataset, exported: ExportedPhotograph, mask: NDArray[np.bool_]) -> None:
        super().__init__(header, list(header.get("AnatomicRegionSequence") or [])[:1])
        self._content, self._mask, self._reader = exported.content, mask, exported.reader
        self._validity = read_validity(self._content)
        self._made_by, self._is_of_user = describe_mask(self._content), is_mask_of_user(self._content)
        is_drawn = LABELS_LAYER in (self._content.get("provenance") or {})
        model = {} if is_drawn else find_mask_model(self._content)
        self._model, self._weights = (str(model.get(key) or "") for key in ("name", "fingerprint"))

    @property
    def procedure(self) -> Concept:
        """How the photograph was made."""
        modality = self._content.get("modality") or read_modality(self.header)
        return codes.DERMOSCOPY if modality == "dermoscopic" else codes.PHOTOGRAPHY

    def list_groups(self) -> Iterator[Any]:
        """Yield the groups: the photograph, and for each lesion its outline and its prediction."""
        yield self._photograph()
        for lesion in self._lesions:
            polygons = trace_polygons(lesion.mask)
            described = self._describe_lesion(lesion, polygons)
            yield from self.build_areas(described, polygons)
            if lesion.prediction:
                version = _get_version(lesion.prediction) or _get_version(self._content)
                yield self._prediction(described, ClassPrediction.from_json(lesion.prediction), version)

    @cached_property
    def _lesions(self) -> Sequence[_Lesion]:
        """The lesions in the mask: those that were measured, and areas that were not, such as single pixels."""
        rows = [row for row in self._content.get("lesions") or () if row["in_mask"]]
        content = self._content
        if len(rows) < 2:
            return [_Lesion("lesion 1", self._mask, content["measurements"], content.get("prediction"))]
        measured = {Box(*(row[f"{name}_px"] for name in ("top", "left", "height", "width"))): row for row in rows}
        lesions, others = [], 0
        for area in separate_components(self._mask):
            box = bounding_box(area)
            row = None if box is None else measured.pop(box, None)
            if row is None:
                others += 1
                lesions.append(_Lesion(f"area {others}", area, {}, None))
            else:
                lesions.append(_Lesion(f"lesion {row['lesion']}", area, row["measurements"], row.get("prediction")))
        return lesions

    def _photograph(self) -> Any:  # noqa: ANN401 - highdicom's
        """Return the group of the photograph: number of lesions, scale, and whether the segmentation is valid."""
        validity, rows = self._validity, self._content.get("lesions") or ()
        measurements = []
        if validity.valid or self._is_of_user:
            inside = sum(not lesion.name.startswith("area") for lesion in self._lesions)
            measurements.append(build_measurement(codes.LESION_COUNT, inside, codes.NO_UNITS))
        outside = sum(not row["in_mask"] for row in rows)
        if outside and validity.valid:
            measurements.append(build_measurement(codes.LESIONS_OUTSIDE, outside, codes.NO_UNITS))
        noted = [str(self._content["warning"])] if validity.valid and self._content.get("warning") else []
        comments = [*self._headline(), *validity.cautions, *noted, self._describe_scale(), NOTICE]
        group = ReportGroup("photograph", self.derive_uid(self.header.SOPInstanceUID), measurements, comments=comments)
        return self.build(group)

    def _headline(self) -> list[str]:
        headline = self._validity.headline("")
        return [to_sentence(headline)] if headline else []

    def _describe_scale(self) -> str:
        size, stated = self._content.get("pixel_size_um"), read_pixel_size(self.header)
        if not size:
            return "The scale is unknown: lengths are in pixels."
        text = f"Scale: {format_scale(size['y'], size['x'])} µm per pixel ({size['source']})."
        if stated is None or (size["y"], size["x"]) == (stated.y_um, stated.x_um):
            return text
        return f"{text} The image states {format_scale(stated.y_um, stated.x_um)}."

    def _describe_lesion(self, lesion: _Lesion, polygons: Sequence[Polygon]) -> ReportGroup:
        """Return origin and values of a lesion; without values if the segmentation is not valid and not corrected."""
        comments = self._headline()
        if self._made_by:
            comments.append(to_sentence(f"mask {self._made_by}"))
        if self._is_of_user and not self._reader:
            comments.append("By a reader without a name.")
        rings = [ring for polygon in polygons for ring in polygon.rings]
        return ReportGroup(
            lesion.name,
            self.derive_uid(self.header.SOPInstanceUID, lesion.name, rings),
            list(_list_measurements(lesion.measurements)) if self._validity.valid or self._is_of_user else [],
            [(codes.ORIGIN, codes.ORIGINS[self._origin])],
            comments,
            finding=codes.SKIN_LESION,
            category=codes.ABNORMAL_STRUCTURE,
            reader=self._reader if self._is_of_user else "",
            model=self._model,
            weights=self._weights,
            version=_get_version(self._content),
        )

    @property
    def _origin(self) -> str:
        if not self._model:
            return "drawn"
        if self._content.get("corrected_by_hand"):
            return "refined"
        return "prompted" if self._is_of_user else "found"

    def _prediction(self, lesion: ReportGroup, prediction: ClassPrediction, version: str) -> Any:  # noqa: ANN401
        """Return the prediction of the classifier for a lesion; the reason alone if it is not valid."""
        validity = prediction.validity
        measurements: list[Any] = []
        evaluations: list[tuple[Concept, Concept]] = []
        comments = [to_sentence(prediction.headline.statement)]
        if validity.valid:
            measurements = list(_list_probabilities(prediction))
            known = ((name, CLASSES.get(name.lower())) for name in prediction.possible)
            evaluations = [
                (codes.POSSIBLE_CLASS, concept or codes.private_concept(format_class(name), "class-"))
                for name, concept in known
            ]
            texts = (prediction.headline.detail, *validity.cautions, *prediction.warnings)
            comments += [to_sentence(text) for text in texts if text]
        return self.build(
            ReportGroup(
                f"{lesion.name}, prediction",
                self.derive_uid("prediction", lesion.uid),
                measurements,
                evaluations,
                [*comments, NOTICE],
                finding=lesion.finding,
                category=lesion.category,
                model=prediction.model.name,
                weights=prediction.model.fingerprint,
                version=version,
            )
        )


def _get_version(stored: Mapping[str, Any]) -> str:
    """Return the version of the program that made a stored result or prediction; empty if it is not stated."""
    return str((stored.get("provenance") or {}).get("version") or "")


def _list_measurements(values: Mapping[str, float | None]) -> Iterator[Any]:
    """Yield area and lengths in mm, or else in pixels, and the measurements without a unit that have a value."""
    is_scaled = "area_mm2" in values
    area, length = (codes.SQUARE_MILLIMETER, codes.MILLIMETER) if is_scaled else (codes.PIXELS, codes.PIXELS)
    if (covered := values.get("area_mm2" if is_scaled else "area_px")) is not None:
        yield build_measurement(codes.AREA, covered, area)
    for name, (concept, derivation) in LENGTHS.items():
        value = values.get(f"{name}_{'mm' if is_scaled else 'px'}")
        if value is not None:  # not defined for this lesion
            yield build_measurement(concept, value, length, derivation=derivation)
    for measurement in MEASUREMENTS:
        value = values.get(measurement.name)
        if not measurement.unit and value is not None:
            yield build_measurement(codes.private_concept(measurement.label), value, codes.NO_UNITS)


def _list_probabilities(prediction: ClassPrediction) -> Iterator[Any]:
    """Yield the probability of each class in percent, that of the positive class with its interval."""
    for name, probability in zip(prediction.classes, prediction.probabilities, strict=True):
        is_cancer = name.lower() == "malignant"
        concept = codes.private_concept(f"Probability of {format_class(name)}")
        measured = build_measurement(
            codes.PROBABILITY_OF_CANCER if is_cancer else concept, round(100 * probability, 4), codes.PERCENT
        )
        if name == prediction.positive and prediction.interval is not None:
            low, high = prediction.interval
            add_interval(measured, 100 * probability, (100 * low, 100 * high), codes.PERCENT)
        yield measured
