"""What a report shows of a lesion of a case, as a tree of blocks: its data, prediction, photographs and slides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_melanoma.case.model import Case, CaseImage, CaseLesion, CasePatient
from napari_melanoma.case.results import CaseLesionPrediction, read_predictions
from napari_melanoma.classification.prediction import ClassPrediction
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.files import FileStamp, file_stamp, hash_file
from napari_melanoma.core.formatting import format_class
from napari_melanoma.core.geometry import format_scale
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.validity import read_validity
from napari_melanoma.data.table_schema import field_title
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.readings import SlideDepthReadings, merge_readings
from napari_melanoma.depth.report_blocks import (
    IMAGE_FILE,
    IMAGES,
    LESION,
    PATIENT,
    PREDICTION,
    SLIDE,
    SYNOPTIC,
    UNKNOWN_FILE,
    format_table_cell,
    is_private_cell,
    lesion_block,
    synoptic_block,
)
from napari_melanoma.depth.shown_blocks import DRAWN, BlockChange, KeyPath, ShownBlock, find_block, group, known
from napari_melanoma.depth.signatures import list_changes_since_signature
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.io.results import RESULT
from napari_melanoma.slides.slide_content import SlideContent, read_slide_content

PATIENT_COLUMNS = ("patient_id", "age", "sex", "fitzpatrick", "ethnicity", "personal_history", "family_history")
FindFolder = Callable[[CaseImage], "Path | None"]  # the result folder of a slide; None if it is not known


@dataclass(frozen=True)
class LesionContent:
    """What is known of a lesion.

    ``prediction``: from its photographs; ``is_outdated``: its inputs have changed. ``photographs``: by image id, the
    content of ``result.json``. ``files``: by image id, the hash of the file of a photograph. ``slides``: by image id.
    ``unread``: keys of blocks that cannot be read now.
    """

    lesion: CaseLesion
    patient: CasePatient = field(default_factory=CasePatient)
    prediction: CaseLesionPrediction | None = None
    is_outdated: bool = False
    photographs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    slides: Mapping[str, SlideContent] = field(default_factory=dict)
    unread: frozenset[KeyPath] = frozenset()

    def list_blocks(self, report: SynopticReport) -> tuple[ShownBlock, ...]:
        """Return the tree that a report on the lesion shows."""
        reader, prediction = report.signed_by or report.reader, self.prediction
        images = (self._image_block(one, reader) for one in self.lesion.images)
        groups = (
            lesion_block(self.lesion),
            synoptic_block(report),
            patient_block(self.patient),
            None if prediction is None else prediction_block(prediction.prediction, is_outdated=self.is_outdated),
            group(IMAGES, "", images),
        )
        return tuple(one for one in groups if one is not None and one.blocks)

    def list_changes(self, report: SynopticReport) -> tuple[str | BlockChange, ...]:
        """State what has changed since the report of the lesion was signed; empty if it is not signed.

        A report that was signed with a slide is compared with what is shown of that slide.
        """
        slide = self._find_signed_slide(report)
        if slide is not None:
            return list_changes_since_signature(
                report, slide.list_blocks(report, report.signed_by), slide.list_unread()
            )
        return list_changes_since_signature(report, self.list_blocks(report), self._list_unread())

    def _find_signed_slide(self, report: SynopticReport) -> SlideContent | None:
        """Return the content of the slide with which a report was signed; None if it was signed with the lesion."""
        file = find_block(report.signed_report, SLIDE, "file")
        found = (one for one in self.slides.values() if file is not None and one.fingerprint == file.value)
        slide = next(found, None)
        return None if slide is None else replace(slide, lesion=self.lesion)

    def _list_unread(self) -> frozenset[KeyPath]:
        inner = {(IMAGES, key, *path) for key, slide in self.slides.items() for path in slide.list_unread()}
        return self.unread | inner

    def _image_block(self, image: CaseImage, reader: str) -> ShownBlock:
        name, slide = f"Image {image.id.removeprefix('I')}", self.slides.get(image.id)
        blocks: Iterable[ShownBlock | None]
        if slide is not None:
            blocks = (one for one in slide.list_blocks(None, reader) if one.key not in (LESION, SYNOPTIC))
        else:
            about = self.photographs.get(image.id) or {}
            blocks = photograph_blocks(about, is_classified=self.prediction is not None)
        contour = None if image.correction is None else image.correction.digest
        own = (
            ShownBlock(key="image", label="", value=image.modality or "unknown", text=image.modality or "image"),
            known("contour", "contour by hand", contour, DRAWN, is_drawing=True),
            *(self._list_origin(image) if slide is None and not image.is_slide else ()),
        )
        return group(image.id, name, (*own, *blocks))

    def _list_origin(self, image: CaseImage) -> Iterator[ShownBlock | None]:
        """Yield the file of a photograph, and the day and the scale that the case states."""
        file, size = self.files.get(image.id, UNKNOWN_FILE), image.pixel_size
        yield ShownBlock(key=IMAGE_FILE, label="file", value=file, text=file[:12])
        yield known("taken_on", "day", image.taken_on, is_private=True)
        if size is not None:
            text = f"{format_scale(size.y_um, size.x_um, 6)} µm per pixel"
            yield known("stated_scale", "scale", [size.y_um, size.x_um], text)


@lru_cache(maxsize=4096)
def _hash_version(path: Path, stamp: FileStamp) -> str:
    """Return the hash of a version of a file: photographs are large, and may be on a network drive."""
    return hash_file(path)


def read_lesion_content(
    case: Case, lesion: CaseLesion, folder: Path | None, find_folder: FindFolder, *, identifies_files: bool = True
) -> LesionContent:
    """Read the content of a lesion from the files of its case and its results.

    ``folder``: of the case; None if it is not stored. ``identifies_files``: compute the hashes of photographs, which
    only a signature contains. What cannot be read is stated elsewhere.
    """
    unread, found, is_outdated = set[KeyPath](), None, False
    photographs: dict[str, Mapping[str, Any]] = {}
    files: dict[str, str] = {}
    slides: dict[str, SlideContent] = {}
    try:
        predictions = None if folder is None else read_predictions(folder)
        found = None if predictions is None else predictions.find_lesion(lesion.id)
        is_outdated = predictions is not None and found is not None and not predictions.is_current(case, lesion.id)
    except MelanomaError:
        unread.add((PREDICTION,))
    for image in lesion.images:
        if not image.is_slide:
            photographs[image.id] = read_object_or_empty(image.current.path / RESULT) if image.current else {}
            unread.add((IMAGES, image.id, IMAGE_FILE))
            stamp = file_stamp(image.path) if identifies_files else None
            with suppress(OSError):
                if stamp is not None:
                    files[image.id] = _hash_version(image.path, stamp)
                    unread.discard((IMAGES, image.id, IMAGE_FILE))
            continue
        results = find_folder(image)
        if results is None or not results.is_dir():
            unread.add((IMAGES, image.id))
            continue
        depth = merge_readings(_list_readings(image, results))
        slides[image.id] = read_slide_content(results, None, image.path, depth=depth)
    return LesionContent(lesion, case.patient, found, is_outdated, photographs, files, slides, frozenset(unread))


def _list_readings(image: CaseImage, results: Path) -> Iterator[SlideDepthReadings]:
    """Yield the readings of a slide in the case and in its result folder, unless their file is damaged."""
    yield image.readings
    with suppress(InputError):
        yield read_findings(results)


def patient_block(patient: CasePatient) -> ShownBlock:
    """Return the known values of the patient; the id, and an age that few people reach, are private."""
    return group(
        PATIENT,
        "Patient",
        (
            known(
                name,
                field_title(name),
                patient.cell(name),
                format_table_cell(name, patient.cell(name)) or patient.cell(name),
                is_private=is_private_cell(name, patient.cell(name)),
            )
            for name in PATIENT_COLUMNS
        ),
    )


def prediction_block(prediction: ClassPrediction, *, is_outdated: bool = False) -> ShownBlock:
    """Return the prediction of a classifier."""
    model, novelty = prediction.model, prediction.novelty
    interval = prediction.interval and f"{prediction.interval[0]:.2f} to {prediction.interval[1]:.2f}"
    sets = ", ".join(map(format_class, prediction.possible)) or "no class"
    return group(
        PREDICTION,
        "Prediction from photographs",
        (
            *(
                ShownBlock(key=f"probability of {name}", label=format_class(name), value=value, text=f"{value:.2f}")
                for name, value in zip(prediction.classes, prediction.probabilities, strict=True)
            ),
            known("interval", "interval", prediction.interval, interval or ""),
            ShownBlock(key="set", label="prediction set", value=list(prediction.possible), text=sets),
            known("coverage", "coverage", prediction.coverage, f"{100 * prediction.coverage:.3g} %"),
            known("validity", "notes", list(prediction.validity.codes)),
            known("novelty", "distance from the training data", None if novelty is None else novelty.distance),
            known("model", "model", [model.name, model.fingerprint], f"{model.name} ({model.fingerprint[:8]})"),
            known("outdated", "outdated", is_outdated or None, "yes"),
            group(
                "effects",
                "effect of patient data",
                (
                    known(
                        one.field,
                        one.field.replace("_", " "),
                        [one.value, one.change],
                        f"{one.value}: {one.change:+.2f}",
                        is_private=is_private_cell(one.field, one.value),
                    )
                    for one in prediction.contributions
                ),
            ),
        ),
    )


def photograph_blocks(about: Mapping[str, Any], *, is_classified: bool) -> Iterator[ShownBlock | None]:
    """Yield the values of a photograph; ``about``: the content of ``result.json``.

    ``is_classified``: a prediction from all photographs is shown instead of that of this one.
    """
    if not about:
        return
    measured = (about.get("measurements") or {}).items()
    yield group(
        "measurements",
        "",
        (known(name, name.replace("_", " "), value, _format_number(value)) for name, value in measured),
    )
    yield known("pixel_size_um", "scale", about.get("pixel_size_um"))
    yield known("lesions_found", "lesions", about.get("lesions_found"))
    yield known("validity", "notes", list(read_validity(about).codes))
    if about.get("prediction") and not is_classified:
        yield prediction_block(ClassPrediction.from_json(about["prediction"]))


def _format_number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float | int) else str(value)
