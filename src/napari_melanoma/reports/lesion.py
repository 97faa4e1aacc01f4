"""The report of an analyzed photograph, and its parts for the report of a case."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.case.model import CaseImage
from napari_melanoma.case.store import read_correction
from napari_melanoma.classification.prediction import ClassPrediction
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.formatting import format_class, format_names, to_sentence
from napari_melanoma.core.geometry import PixelSize, format_scale
from napari_melanoma.core.provenance import describe_device
from napari_melanoma.core.validity import read_validity
from napari_melanoma.data.table_schema import field_title, format_field_value
from napari_melanoma.figures.page import (
    Bar,
    Block,
    Figure,
    Gallery,
    Notice,
    Report,
    Section,
    Table,
    Text,
    fields,
    write_report,
)
from napari_melanoma.imaging.masks import Roi, draw_damage
from napari_melanoma.io.photographs import Photograph, read_photograph
from napari_melanoma.lesion.analysis import HEATMAP
from napari_melanoma.lesion.mask_record import (
    BY_HAND,
    describe_mask,
    find_mask_model,
    has_user_mask,
    is_made_by_prompts,
)
from napari_melanoma.lesion.results import MASK, read_result, read_result_mask
from napari_melanoma.reports.disclosure import hide_age, hide_training_image
from napari_melanoma.reports.formatting import format_known_data, signed_bar
from napari_melanoma.reports.pictures import draw_photograph, make_figure
from napari_melanoma.reports.report_records import ReportRecords

OUTDATED = "Outdated: the inputs have changed since this result"
OTHER_VALUE = "Outdated measurements: analyzed {}; the case states {} now. Analyze the photograph again."
ROI_CAPTION = "Region of interest"


def write_lesion_report(
    path: Path, photograph: Photograph, about: dict[str, Any], overlay: NDArray[np.uint8], roi: Roi | None
) -> Path:
    """Write the report of one photograph.

    ``about``: the content of ``result.json``. ``overlay``: the photograph with the contour, uint8 (row, column,
    channel=3). ``roi``: the region of interest, if any.
    """
    size = photograph.pixel_size
    figures = [
        make_figure(draw_photograph(photograph.rgb, size), "Photograph", "Photograph"),
        make_figure(
            draw_photograph(overlay, size),
            "Photograph with the contour of the lesion in yellow",
            _caption_contour(describe_mask(about)),
        ),
    ]
    if roi is not None:
        roi_pixel_size = size and _scale_pixels(size, roi.box.height / len(roi.image))
        figures.append(make_figure(draw_photograph(roi.image, roi_pixel_size), ROI_CAPTION, ROI_CAPTION, small=True))
    report = Report(
        about["image"],
        describe_photograph(about),
        (
            *photograph_notices(about),
            Gallery(tuple(figures)),
            Section("Measurements", measurement_blocks(about)),
            *prediction_sections(about),
            Section("Provenance", (fields("Provenance", list_origin(about, personal=True)),)),
        ),
        program=format_program(about["provenance"]),
    )
    write_report(path, report)
    return path


def _caption_contour(user_change: str) -> str:
    """Return the caption of a contour; ``user_change``: such as ``corrected by hand``; "" if there is none."""
    return f"Contour, {user_change}" if user_change else "Contour"


def photograph_notices(about: Mapping[str, Any]) -> tuple[Block, ...]:
    """Return the warnings on a result, the most important first."""
    validity = read_validity(about)
    texts = [f"Damaged photograph: {about['damage']}. The result may be wrong."] if about.get("damage") else []
    texts += [to_sentence(text) for text in (validity.headline(""), *validity.other_reasons) if text]
    return tuple(Notice(text) for text in texts)


def measurement_blocks(about: Mapping[str, Any]) -> tuple[Block, ...]:
    """Return the measurements of one photograph, or why there are none."""
    if about.get("measurements"):
        return (measurement_table([("Value", about["measurements"])]),)
    return (Text("No lesion was found." if read_validity(about).valid else "The model segmented no lesion."),)


def measurement_table(results: Sequence[tuple[str, Mapping[str, float]]], *, defined: bool = True) -> Table:
    """Return the table of measurements: a column for each photograph, or for a single one also their definitions.

    ``results``: heading of the column, and measurements by name. Lengths in pixels are left out if all photographs have
    a scale. ``defined``: include the definitions.
    """
    from napari_melanoma.imaging.measurements import MEASUREMENTS

    scaled = all("area_mm2" in values for _, values in results)
    defined = defined and len(results) == 1
    rows = []
    for item in sorted(MEASUREMENTS, key=lambda one: "mm" not in one.unit):
        if not any(item.name in values for _, values in results) or (scaled and item.unit.startswith("px")):
            continue
        cells = [format_number(values.get(item.name, math.nan)) for _, values in results]
        label = f"{item.label}, {item.unit}" if item.unit else item.label
        rows.append((label, *cells, *((item.explanation,) if defined else ())))
    columns = ("Measurement", *(title for title, _ in results), *(("Definition",) if defined else ()))
    return Table("Measurements", columns, tuple(rows))


def format_number(value: float) -> str:
    """Format a number with four digits and without powers of ten; a dash for NaN."""
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def describe_photograph(about: Mapping[str, Any]) -> str:
    """Describe size, modality and scale in one line."""
    rows, columns = about["image_shape"][:2]
    size = read_pixel_size(about)
    scale = "scale unknown" if size is None else f"{format_scale(size.y_um, size.x_um, 3)} µm per pixel ({size.source})"
    return ", ".join(filter(None, (f"{columns} x {rows} pixels", about.get("modality"), scale)))


def read_pixel_size(about: Mapping[str, Any]) -> PixelSize | None:
    """Read the pixel size of a result; None if it has none."""
    size = about.get("pixel_size_um")
    return PixelSize.from_json(size) if size else None


def prediction_sections(about: Mapping[str, Any], *, personal: bool = True) -> Iterator[Section]:
    """Yield the section on the prediction in the result of a photograph, if it has one."""
    if about.get("prediction"):
        known = format_known_data(about.get("form") or {}, personal=personal)
        blocks = prediction_blocks(ClassPrediction.from_json(about["prediction"]), personal=personal)
        yield Section("Prediction", (*blocks, fields("Input", {"Patient data used": known})))


def prediction_blocks(
    prediction: ClassPrediction, *, outdated: bool = False, personal: bool = True
) -> tuple[Block, ...]:
    """Return the prediction for a lesion; without its numbers if it is not valid."""
    validity, verdict = prediction.validity, prediction.headline.statement
    values = {"Prediction": f"{OUTDATED}. {verdict}." if outdated else f"{verdict}."}
    reasons = validity.cautions if validity.valid else validity.other_reasons
    warnings = (hide_training_image(text, personal=personal) for text in prediction.warnings)
    notices = tuple(Notice(to_sentence(text)) for text in (*reasons, *warnings))
    if not validity.valid:
        return (fields("Prediction", values), *notices)
    if prediction.threshold_text:
        values["Decision threshold"] = to_sentence(prediction.threshold_text)
    classes = ", ".join(map(format_class, prediction.possible)) or "no class"
    values["Prediction set"] = f"{classes} (conformal, {100 * prediction.coverage:.3g} % coverage)"
    if prediction.novelty is not None:
        novelty = prediction.novelty
        where = "Out of distribution" if novelty.is_out_of_distribution else "Within the range of the training data"
        values["Similarity to the training data"] = (
            f"{where} (distance {novelty.distance:.2f}, limit {novelty.limit:.2f})"
        )
    return (fields("Prediction", values), *notices, *_prediction_tables(prediction, personal=personal))


def _prediction_tables(prediction: ClassPrediction, *, personal: bool) -> Iterator[Block]:
    """Yield the tables of probabilities, of effects of the patient data, and of similar cases."""
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    intervals = {prediction.positive: prediction.interval}
    yield Table(
        f"Calibrated probability of each class; line: 95 % interval of {format_class(prediction.positive)}",
        ("Class", "Probability"),
        tuple((format_class(name), Bar(f"{value:.2f}", value, intervals.get(name))) for name, value in pairs),
        titled=True,
    )
    if prediction.contributions:
        rows = [
            (
                field_title(effect.field),
                hide_age(effect.field, format_field_value(effect.field, effect.value), personal=personal),
                signed_bar(effect.change),
            )
            for effect in prediction.contributions
        ]
        title = f"Effect of the patient data on the probability of {format_class(prediction.positive)}"
        yield Table(title, ("Field", "Value", "Change"), tuple(rows), titled=True)
    if prediction.neighbours:
        cases = [
            (case.image_id if personal else str(number), format_class(case.diagnosis), f"{case.distance:.2f}")
            for number, case in enumerate(prediction.neighbours, start=1)
        ]
        yield Table("Similar training cases", ("Case", "Diagnosis", "Distance"), tuple(cases), titled=True)


def list_origin(about: Mapping[str, Any], *, personal: bool) -> dict[str, str]:
    """Return model, options and software of a result as labeled values; the time only if ``personal``."""
    model, provenance, prediction = about["model"], about["provenance"], about.get("prediction") or {}
    classifier = prediction.get("model") or {}
    mask_model, made_by = find_mask_model(about), describe_mask(about)
    threshold = f"{about['threshold']:.2f}" + (f" (mask {made_by})" if about["corrected_by_hand"] else "")
    by_prompts = is_made_by_prompts(about)
    values = {
        "Mask": to_sentence(made_by) if by_prompts else "",
        "Model": _format_model(mask_model),
        "Model of the mask before the clicks": _format_model(model) if by_prompts and model != mask_model else "",
        "Classifier": _format_model(classifier) if classifier else "",
        "Threshold": threshold if model["name"] and not by_prompts else "",
        "Photograph": f"SHA-256 of the pixels {about['image_sha256'][:16]}",
        "Program": f"{format_program(provenance)}, Python {provenance['python']} on {provenance['platform']}",
        "Packages": ", ".join(f"{name} {version}" for name, version in provenance["packages"].items()),
        "Created": str(provenance["created"]) if personal else "",
        "Attribution of the photograph": str(about.get("credit") or ""),
    }
    return {name: text for name, text in values.items() if text}


def _format_model(model: Mapping[str, Any]) -> str:
    if not model["name"]:
        return "none (mask drawn by hand or made with another tool)"
    device = describe_device(model["device"], model.get("backend"))
    return f"{model['name']} on {device}, weights {model['fingerprint'][:16]}"


def format_program(provenance: Mapping[str, Any]) -> str:
    return f"{provenance['program']} {provenance['version']}"


@dataclass
class PhotographPart:
    """The content of a report on a photograph, while it is collected.

    ``folder``: of its result. ``about``: the content of ``result.json``, empty if there is no result. ``measurements``:
    of the current contour, empty if there are none. ``notes``: above the pictures; ``details``: below them.
    """

    name: str
    records: ReportRecords
    folder: Path | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    measurements: Mapping[str, float] = field(default_factory=dict)
    notes: list[Block] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    details: list[Block] = field(default_factory=list)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, from top to bottom."""
        gallery = (Gallery(tuple(self.figures)),) if self.figures else ()
        return (*self.notes, *gallery, *self.details)

    def add_problem(self, text: str, error: Exception) -> None:
        """State what is missing or damaged."""
        self.notes.append(self.records.add_problem(self.name, text, error))

    def add_contour(
        self, rgb: NDArray[np.uint8], size: PixelSize | None, mask: NDArray[np.bool_] | None, caption: str
    ) -> None:
        """Add the picture of a photograph with its contour.

        ``mask``: None if the contour is drawn on the photograph already.
        """
        alt = f"{self.name} with the contour of the lesion in yellow"
        self.figures.append(make_figure(draw_photograph(rgb, size, mask), alt, caption))

    def add_result(self, *, classified: bool) -> None:
        """Add region of interest, heatmap, warnings, description and prediction of the result.

        ``classified``: leave out the prediction.
        """
        about, count = self.about, int(self.about.get("lesions_found") or 0)
        stored_values = about.get("measurements") or {}
        self.measurements = {str(key): float(value) for key, value in stored_values.items() if value is not None}
        for file, caption in (("roi.png", ROI_CAPTION), (HEATMAP, _caption_heatmap(about))):
            self._add_result_picture(file, caption)
        several_text = (
            f"; {count} lesions were found, and the measurements are those of the contour" if count > 1 else ""
        )
        self.notes += photograph_notices(about)
        self.details.append(Text(describe_photograph(about) + several_text, quiet=True))
        self.details += () if classified else prediction_sections(about, personal=self.records.personal)
        self.records.add_origin(self.name, about)
        self.records.add_credit(self.name, str(about.get("credit") or ""))
        if about.get("prediction"):
            self.records.add_origin(f"{self.name}, class", about["prediction"])

    def _add_result_picture(self, file: str, caption: str) -> None:
        path = self.folder and self.folder / file
        if not path or not path.is_file():
            return
        try:
            rgb = read_photograph(path, accept_damaged=True).rgb
        except MelanomaError as error:
            self.add_problem(f"the picture '{caption.lower()}' is damaged, and is not shown.", error)
            return
        size = read_pixel_size(self.about)
        if size is not None and file == "roi.png":
            size = _scale_pixels(size, self.about["roi_box"]["side"] / len(rgb))
        self.figures.append(make_figure(draw_photograph(rgb, size), f"{self.name}: {caption}", caption, small=True))


def _caption_heatmap(about: Mapping[str, Any]) -> str:
    """Return the caption of a heatmap: the class that it explains, or for attention, which has none, the prediction."""
    explained = about.get("heatmap") or {}
    by_class = explained.get("method", "attention") != "attention"
    target = format_class(explained["class"]) if by_class else "the prediction"
    regions = "no region was found that contributes" if explained.get("empty") else "regions that contribute"
    return f"Heatmap: {regions} to {target}"


def case_photograph(
    image: CaseImage,
    name: str,
    records: ReportRecords,
    *,
    missing: str | None,
    classified: bool,
    metadata: Mapping[str, str],
) -> PhotographPart:
    """Collect a photograph of a case with its current contour and result.

    ``missing``: why its file was not found; else None. ``classified``: whether its lesion has a prediction from all
    photographs; that of this photograph is then left out. ``metadata``: the known patient data in the case, by column.
    """
    part = PhotographPart(name, records, image.current.path if image.current else None)
    try:
        part.about = read_result(part.folder) if part.folder else {}
    except InputError as error:
        part.add_problem("its result is missing or damaged: there are no measurements.", error)
    if image.correction is not None:
        change = _describe_change(image.correction.model, part.about)
        records.add_correction(name, change, image.correction.created)
        if image.current is None:
            part.notes.append(Text("The contour has changed since the last analysis: it is not measured yet."))
    _add_photograph(part, image, missing, _read_contour(part, image))
    if part.about:
        changed = [] if classified else _find_changed_data(part.about, metadata)
        if changed:
            names = format_names([field_title(column) for column in changed])
            part.notes.append(Notice(f"Outdated prediction: the case has other patient data: {names}."))
        part.notes += map(Notice, _list_other_values(part.about, image))
        part.add_result(classified=classified)
    return part


def _describe_change(model: str, about: Mapping[str, Any]) -> str:
    """Describe how a user drew or corrected a contour.

    ``model``: the one whose contour was corrected, if any. ``about``: the result with this contour, empty without one.
    """
    if is_made_by_prompts(about):
        return f"contour {describe_mask(about)}"
    return f"contour of {model} {BY_HAND}" if model else "contour drawn by hand"


def _find_changed_data(about: Mapping[str, Any], metadata: Mapping[str, str]) -> list[str]:
    """Return the columns whose values differ from those that the prediction of a result used."""
    prediction, used = about.get("prediction") or {}, about.get("form") or {}
    columns = (*used, *prediction.get("missing", ())) if prediction else ()
    unused = prediction.get("unused", ())
    return [name for name in columns if name not in unused and metadata.get(name, "") != used.get(name, "")]


def _list_other_values(about: Mapping[str, Any], image: CaseImage) -> Iterator[str]:
    """State the scale and the type of a photograph that the case has now, if its result has others."""
    measured, stated = read_pixel_size(about), image.pixel_size
    if measured is not None and stated is not None and not measured.is_close(stated):
        before, now = (format_scale(size.y_um, size.x_um) for size in (measured, stated))
        yield OTHER_VALUE.format(f"at {before} µm per pixel", now)
    modality = about.get("modality")
    if modality and image.modality and modality != image.modality:
        yield OTHER_VALUE.format(f"as {modality}", image.modality)


def result_photograph(folder: Path, name: str, records: ReportRecords) -> PhotographPart:
    """Collect the photograph of a result folder, with the contour that is drawn on it there."""
    part = PhotographPart(name, records, folder, read_result(folder))
    try:
        rgb = read_photograph(folder / "overlay.png", accept_damaged=True).rgb
        part.add_contour(rgb, read_pixel_size(part.about), None, _caption_contour(describe_mask(part.about)))
    except MelanomaError as error:
        part.add_problem("its picture is missing or damaged, and is not shown.", error)
    try:
        if (folder / MASK).is_file():
            read_result_mask(folder, part.about)
    except MelanomaError as error:
        part.add_problem("its measurements are not those of its mask.", error)
    if has_user_mask(part.about):
        created = str((part.about.get("provenance") or {}).get("created") or "")
        records.add_correction(name, _describe_change(part.about["model"]["name"], part.about), created)
    part.add_result(classified=False)
    return part


def _read_contour(part: PhotographPart, image: CaseImage) -> NDArray[np.bool_] | None:
    """Read the corrected mask of an image, or else the mask of its result; None if there is none or it is damaged."""
    try:
        if image.correction is not None:
            return read_correction(image.correction)
        return read_result_mask(part.folder, part.about) if part.folder and part.about else None
    except MelanomaError as error:
        part.add_problem("its mask is missing, damaged or not the one that was measured: it is not shown.", error)
        return None


def _add_photograph(
    part: PhotographPart, image: CaseImage, missing: str | None, mask: NDArray[np.bool_] | None
) -> None:
    pixel_size = image.pixel_size or read_pixel_size(part.about)
    try:
        if missing:
            raise InputError(missing)
        photograph = read_photograph(image.path, accept_damaged=True)
        if mask is not None and mask.shape != photograph.rgb.shape[:2]:
            raise InputError(f"the mask has {mask.shape} pixels, the photograph {photograph.rgb.shape[:2]}.")
    except MelanomaError as error:
        part.add_problem("the photograph is missing, damaged or does not fit its contour; it is not shown.", error)
        return
    part.records.add_credit(part.name, photograph.credit)
    rgb, size = draw_damage(photograph.rgb, photograph.damage), pixel_size or photograph.pixel_size
    if mask is None:
        caption = "Photograph" if image.modality else "Image of unknown type"
        part.figures.append(make_figure(draw_photograph(rgb, size), part.name, caption))
    else:
        user_change = describe_mask(part.about) or (BY_HAND if image.correction else "")
        part.add_contour(rgb, size, mask, _caption_contour(user_change))
    if photograph.damage and not part.about.get("damage"):
        part.notes.append(Notice(f"Damaged photograph: {photograph.damage}."))


def _scale_pixels(size: PixelSize, factor: float) -> PixelSize:
    """Return the pixel size of a picture with pixels that are larger by a factor."""
    return PixelSize(size.y_um * factor, size.x_um * factor, size.source)
