"""The section of a report on the risk of metastasis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.case.results import risk_to_json
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.formatting import to_sentence
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.validity import read_validity
from napari_melanoma.data.table_schema import field_title
from napari_melanoma.depth.readings import format_time
from napari_melanoma.depth.t_category import format_thickness
from napari_melanoma.extensions.risk.maps import MAP_METHODS
from napari_melanoma.extensions.risk.slide_files import StoredRisk, patch_boxes, read_risk
from napari_melanoma.figures.page import Bar, Block, Cell, Figure, Gallery, Notice, Section, Table, Text, fields
from napari_melanoma.imaging.masks import draw_heatmap
from napari_melanoma.io.results import RISK_FILE, read_risk_prediction
from napari_melanoma.reports.disclosure import hide_reader
from napari_melanoma.reports.formatting import format_known_data, format_value, parse_interval, signed_bar
from napari_melanoma.reports.pictures import PATCH_PX, draw_scale_bar, fit_picture, make_figure
from napari_melanoma.reports.report_records import ReportRecords
from napari_melanoma.reports.report_sections import ReportSection, SlidePart
from napari_melanoma.slides.reading.opening import open_slide

MAX_PATCHES = 3  # patches that are shown
NO_SLIDE = "Patches are not shown: the slide can no longer be read."
NO_SHARES = "Contributions are not available for this model."
HEATMAPS = (
    "Heatmaps: attention is the weight of each position, for any prediction; the others are evidence for metastasis. "
    "Where no color is drawn, there is none; the colors of a method have the same scale in all patches."
)
CONTRIBUTIONS = (
    "The contributions add up to the difference between this prediction and {:.2f}, the probability that the model "
    "predicts without any data of this case."
)


@dataclass(frozen=True)
class RiskPictures:
    """Pictures of the patches that a prediction is based on, and a note on them."""

    figures: tuple[Figure, ...] = ()
    note: str = ""


def risk_section(
    prediction: Mapping[str, Any],
    cautions: Sequence[str] = (),
    pictures: RiskPictures = RiskPictures(),
    *,
    personal: bool = True,
) -> Section:
    """Return the section on the risk of metastasis; the numbers of an invalid prediction are folded.

    ``prediction``: the content of ``risk.json``. ``cautions``: further warnings.
    """
    validity = read_validity(prediction)
    reasons = validity.cautions if validity.valid else validity.other_reasons
    warnings = [*reasons, *(to_sentence(str(one)) for one in (*cautions, *(prediction.get("warnings") or ())))]
    verdict = to_sentence(validity.headline("") or str(prediction["verdict"]))
    details = tuple(_list_details(prediction, pictures, personal=personal))
    if not validity.valid:
        details = (Section("Show the number anyway", details, folded=True),)
    blocks = (Notice(verdict, lead=validity.valid), *map(Notice, warnings), *details)
    return Section("Risk of metastasis", blocks)


def read_risk_section(folder: Path, slide: Path | None, *, personal: bool = True) -> Section | None:
    """Return the section on the risk of a slide; None if there is no readable prediction."""
    stored = read_risk(folder)
    if not stored.prediction:
        return None
    return risk_section(stored.prediction, _list_changes(stored), _draw_patches(stored, slide), personal=personal)


def _list_changes(stored: StoredRisk) -> tuple[str, ...]:
    """Return warnings if the thickness or the findings of a reader have changed since the prediction."""
    used_depth = stored.prediction["depth"]
    # One from a table is unknown here: it is outdated only if the thickness was measured since
    before = None if used_depth.get("source") in ("predicted", "metadata") else used_depth.get("mm")
    current_text = "unknown" if stored.depth.mm is None else format_thickness(stored.depth.mm)
    changes = {
        f"the thickness has changed since this prediction and is now {current_text}": before != stored.depth.mm,
        "ulceration, Clark level or mitoses have changed since this prediction": stored.has_other_findings,
    }
    return tuple(f"outdated: {text}. Estimate the risk again" for text, has_changed in changes.items() if has_changed)


def _draw_patches(stored: StoredRisk, path: Path | None) -> RiskPictures:
    """Draw the patches of a prediction, each without and with its heatmaps."""
    boxes = patch_boxes(stored.prediction)[:MAX_PATCHES]
    if path is None or not boxes:
        return RiskPictures(note=NO_SLIDE if boxes else "")
    try:
        with open_slide(path) as slide:
            patches = [(slide.read_square(box, PATCH_PX), box, slide.info.pixel_size) for box in boxes]
    except (MelanomaError, OSError):
        return RiskPictures(note=NO_SLIDE)
    figures = [figure for number, patch in enumerate(patches) for figure in _draw_patch(stored, number, *patch)]
    return RiskPictures(tuple(figures), HEATMAPS if stored.maps else "")


def _draw_patch(
    stored: StoredRisk, number: int, rgb: NDArray[np.uint8], box: Box, size: PixelSize | None
) -> Iterator[Figure]:
    """Yield a patch, and its heatmaps drawn over it."""
    patch = stored.prediction["patches"][number]
    title = f"{str(patch.get('what', 'patch')).capitalize()}: {patch['probability']:.2f}"
    pixel_size = size and PixelSize(size.y_um * box.height / len(rgb), size.x_um * box.width / rgb.shape[1])
    pictures = {title: rgb} | {
        f"{title}, {MAP_METHODS[method][0]}": draw_heatmap(rgb, risk_map.crop(box, (rgb.shape[0], rgb.shape[1])))
        for method, risk_map in stored.maps.items()
    }
    for caption, picture in pictures.items():
        yield make_figure(draw_scale_bar(fit_picture(picture, pixel_size)), caption, caption, small=True)


def _list_details(prediction: Mapping[str, Any], pictures: RiskPictures, *, personal: bool) -> Iterator[Block]:
    """Yield the tables of methods, contributions and inputs, and the pictures."""
    probability, interval = float(prediction["probability"]), parse_interval(prediction.get("interval"))
    kind = "demonstration model " if read_validity(prediction).demonstration else ""
    name = f"Image, depth and patient ({kind}{prediction['model'].get('name', 'the model')})"
    rows: list[tuple[Cell, ...]] = [(name, Bar(format_value(probability, interval), probability, interval))]
    rows += [_create_method_row(one) for one in (prediction.get("comparators") or {}).values()]
    yield Table("Probability of metastasis by method", ("Method", "Probability"), tuple(rows))
    shares, baseline = prediction.get("shares") or {}, prediction.get("without")
    if shares:
        parts = tuple((part.capitalize(), signed_bar(float(value))) for part, value in shares.items())
        yield Table("Contributions", ("Part", "Change of the probability"), parts, titled=True)
    has_shares = bool(shares) and baseline is not None
    yield Text(CONTRIBUTIONS.format(baseline) if has_shares else NO_SHARES, True)
    yield fields("Inputs of the risk", _list_basis(prediction, personal=personal))
    if pictures.figures:
        yield Gallery(pictures.figures)
    if pictures.note:
        yield Text(pictures.note, True)


def _create_method_row(method: Mapping[str, Any]) -> tuple[Cell, ...]:
    """Create the row of another method: its probability, or the reason why it has none."""
    value, title = method.get("probability"), str(method.get("title"))
    if value is None:
        return title, f"– {to_sentence(str(method.get('why') or 'unknown'))}"
    return title, Bar(f"{value:.2f}", float(value))


def _list_basis(prediction: Mapping[str, Any], *, personal: bool) -> dict[str, str]:
    """List the inputs of a prediction: label to text."""
    patches, model = prediction["patches"], prediction["model"]
    patches_text = ", ".join(f"{patch.get('what', 'patch')} {patch['probability']:.2f}" for patch in patches)
    predicted_depths = (
        f"{patch['depth_mm']:.2f} mm, from the {'first patch' if number == 0 else f'patch {number + 1}'} "
        f"({patch.get('what', 'patch')})"
        for number, patch in enumerate(patches)
        if patch.get("depth_mm") is not None
    )
    missing = [field_title(str(name)) for name in prediction.get("missing") or ()]
    provenance = prediction.get("provenance") or {}
    depth_text = hide_reader(str(prediction.get("depth_text") or "unknown"), personal=personal)
    inputs = {
        "Thickness used": to_sentence(depth_text),
        "Thickness predicted by the network": next(predicted_depths, ""),
        "Patient and melanoma": format_known_data(prediction["known"], personal=personal),
        "Unknown": ", ".join(missing),
        "Patches": f"{len(patches)} of {prediction['options'].get('patch_mm', 3.0):g} mm: {patches_text}"
        if patches
        else "",
        "Model": f"{model.get('name')}: {model.get('title') or ''}, weights {str(model['fingerprint'])[:16]}",
        "Estimated": format_time(str(provenance.get("created") or "")) if personal else "",
    }
    return {name: text for name, text in inputs.items() if text}


def _report_risk(part: SlidePart, name: str, records: ReportRecords) -> Iterator[Section]:
    """Yield the section on the risk of metastasis, from the result folder or else from the case."""
    image_risk = None if part.image is None else part.image.risk
    if part.folder and (part.folder / RISK_FILE).is_file():
        found = read_risk_section(part.folder, part.path, personal=records.personal)
        yield found or Section(
            "Risk of metastasis",
            (records.add_problem(name, "its risk is damaged, and is not shown.", str(part.folder / RISK_FILE)),),
        )
    elif image_risk is not None:
        stored = read_risk_prediction(image_risk.path) or {**risk_to_json(image_risk), "patches": [], "options": {}}
        yield risk_section(stored, pictures=RiskPictures(note=""), personal=records.personal)


RISK_SECTION = ReportSection("Risk of metastasis", _report_risk, is_in_depth_report=True)
