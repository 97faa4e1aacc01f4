"""The report of cases and result folders, with the summary of a case on its first page.

It contains everything that can be read, and states what is missing, moved or damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from napari_melanoma.case.changes import ImagePair, compare_images, list_follow_ups
from napari_melanoma.case.fusion import FusedCase, fuse_lesion
from napari_melanoma.case.lesion_content import read_lesion_content
from napari_melanoma.case.model import Case, CaseImage, CaseLesion, CasePart, number_lesions
from napari_melanoma.case.results import PREDICTIONS_FILE, CasePredictions, collect_metadata, read_predictions
from napari_melanoma.case.store import CASE, CaseStore
from napari_melanoma.core.context import BATCH_ERRORS, RunContext
from napari_melanoma.core.errors import ConfigError, InputError, MelanomaError, describe_error
from napari_melanoma.core.formatting import format_count, format_names, to_sentence
from napari_melanoma.core.paths import real_path
from napari_melanoma.core.provenance import parse_time
from napari_melanoma.core.validity import read_validity
from napari_melanoma.data.body_sites import site_title, site_word
from napari_melanoma.data.table_schema import field_title, find_column
from napari_melanoma.depth.readings import DepthReading, format_category, format_time, latest_reading
from napari_melanoma.depth.report_blocks import SITE_COLUMNS, SLIDE, format_table_cell, lesion_block
from napari_melanoma.depth.shown_blocks import find_block
from napari_melanoma.depth.synoptic import SynopticReport, describe_finding
from napari_melanoma.depth.t_category import category_of_thickness, format_thickness
from napari_melanoma.figures.page import Block, Figure, Gallery, Notice, Report, Section, Table, Text, fields
from napari_melanoma.io.results import RESULT
from napari_melanoma.lesion.changes import LesionChanges
from napari_melanoma.reports.body_map import BodyMap, SiteMark
from napari_melanoma.reports.disclosure import (
    describe_status,
    format_days_later,
    hide_age,
    label_readers,
    remove_personal_data,
    show_patient_id,
)
from napari_melanoma.reports.lesion import (
    OUTDATED,
    case_photograph,
    format_program,
    measurement_table,
    prediction_blocks,
    result_photograph,
)
from napari_melanoma.reports.pictures import draw_photograph, make_figure
from napari_melanoma.reports.report_records import Problem, ReportRecords
from napari_melanoma.reports.report_sections import SlidePart, add_lesion_sections
from napari_melanoma.reports.slide import LINE_CAPTION, agreement_sections, is_slide_result, slide_section
from napari_melanoma.slides.depth import describe_depth
from napari_melanoma.slides.result_folder import recorded_slide
from napari_melanoma.slides.results import describe_prediction
from napari_melanoma.slides.synoptic_files import list_other_answers

PATIENT_FIELDS = ("age", "sex", "fitzpatrick", "ethnicity", "personal_history", "family_history")
SUMMARY_FIELDS = ("diagnosis", "diagnosis_detail", "diagnosis_by")
TABLE_IMAGES = 5  # photographs beside each other in a table of measurements
MODALITIES = {"tbp_tile": "total-body photograph", "wsi": "slide"}
EXPECTED = (
    "expected the folder of a case (with case.json), or result folders of photographs or slides, or a folder that "
    "contains them"
)
"""What the command accepts, for messages."""


@dataclass(frozen=True)
class CollectedReport:
    """A report, and the problems that it states."""

    report: Report
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class ReportInputs:
    """Cases and result folders to report, in the order of the arguments."""

    cases: tuple[CaseStore, ...]
    photographs: tuple[Path, ...]
    slides: tuple[Path, ...]


def collect_report(
    paths: Sequence[Path],
    *,
    case: Path | None = None,
    personal: bool = False,
    strokes: bool = False,
    run: RunContext,
) -> CollectedReport:
    """Collect the report of cases and results.

    ``case``: folder of a case that is not reported, but whose lesions are those of slides among the results.

    Without ``personal``, the report contains no dates, file names, names of readers or ages above 89, and no free text
    except that written for reports. ``strokes``: list those that were painted on slides, by class and reader.
    """
    records = ReportRecords(personal, run, strokes)
    inputs = find_inputs(paths, records)
    if not (inputs.cases or inputs.photographs or inputs.slides):
        details = "; ".join(one.detail for one in records.problems)
        raise InputError(f"there is nothing to report: {EXPECTED}; found: {details}")
    images = [image for store in inputs.cases for _, image in store.case.iterate_images()]
    notices = [Notice(f"{one.about}: {one.text}") for one in records.problems]
    owners = {} if case is None else _find_slide_lesions(CaseStore.open_read_only(case).case)
    slides, unassigned_slides = _collect_slides(inputs, owners)
    records.total = len(images) + len(inputs.photographs) + len(unassigned_slides)
    lesions = [lesion for store in inputs.cases for lesion in store.case.lesions]
    names = [name for part in (*slides.values(), *unassigned_slides) for name in part.reader_names]
    names += [name for lesion in lesions if lesion.report for name in lesion.report.reader_names]
    records.readers.update(label_readers(names, personal=personal))
    blocks = [
        *notices,
        *_case_sections(inputs.cases, slides, records),
        *_result_sections(inputs.photographs, unassigned_slides, owners, records),
        *agreement_sections((*slides.values(), *unassigned_slides), records.readers),
        *records.history(),
        *records.provenance(),
    ]
    report = _make_report(inputs, tuple(blocks), personal=personal)
    if not personal:
        paths = [image.path for image in images]
        paths += [part.path for part in (*slides.values(), *unassigned_slides) if part.path is not None]
        report = remove_personal_data(report, {path.name for path in paths if path.suffix})
    return CollectedReport(report, tuple(records.problems))


def find_inputs(paths: Sequence[Path], records: ReportRecords) -> ReportInputs:
    """Find cases and result folders, also one level below the paths; paths without any are recorded as problems."""
    cases: dict[Path, CaseStore] = {}
    photographs: dict[Path, None] = {}
    slides: dict[Path, None] = {}
    for path in paths:
        folder = path.parent if path.name in (CASE, RESULT) else path
        candidates = (
            [folder] if _kind_of(folder) else sorted(candidate for candidate in folder.glob("*") if _kind_of(candidate))
        )
        if not candidates:
            records.add_problem("Input", "contains no case and no results; it was left out.", f"{path}: {EXPECTED}")
        for candidate in candidates:
            kind = _kind_of(candidate)
            if kind == "slide":
                slides[real_path(candidate)] = None
            elif kind == "photograph":
                photographs[real_path(candidate)] = None
            else:
                try:
                    cases.setdefault(real_path(candidate), CaseStore.open_read_only(candidate))
                except (InputError, ConfigError) as error:
                    records.add_problem("Case", "cannot be read: its case.json is damaged or invalid.", error)
    return ReportInputs(tuple(cases.values()), tuple(photographs), tuple(slides))


def _kind_of(folder: Path) -> str:
    """Return ``case``, ``slide`` or ``photograph``; empty for other folders."""
    if (folder / CASE).is_file():
        return "case"
    if is_slide_result(folder):
        return "slide"
    return "photograph" if (folder / RESULT).is_file() else ""


def _make_report(inputs: ReportInputs, blocks: tuple[Block, ...], *, personal: bool) -> Report:
    from napari_melanoma.core.provenance import collect_provenance

    provenance = collect_provenance()
    ids = [show_patient_id(store.case.patient.patient_id, personal=personal) for store in inputs.cases]
    title = "Imaging report"
    if ids:
        title = f"Case {ids[0]}".strip() if len(ids) == 1 else f"{len(ids)} cases"
    images = [image for store in inputs.cases for _, image in store.case.iterate_images()]
    lesions = sum(len(store.case.lesions) for store in inputs.cases)
    counts = {"lesion": lesions, "image": len(images), "result": 0 if ids else len(inputs.photographs + inputs.slides)}
    subtitle = ", ".join(format_count(count, what) for what, count in counts.items() if count)
    if personal:
        subtitle += f", {format_time(str(provenance['created']))}"
    return Report(title, subtitle, blocks, title, format_program(provenance))


def _case_sections(
    cases: Sequence[CaseStore], slides: Mapping[tuple[int, str], SlidePart], records: ReportRecords
) -> Iterator[Block]:
    """Yield the blocks of a single case, or a section for each of several cases.

    ``slides``: by number of the case and id of the image.
    """
    for number, store in enumerate(cases):
        name = f"Case {show_patient_id(store.case.patient.patient_id, personal=records.personal)}"
        records.case = name if len(cases) > 1 else ""
        own = {key: part for (at, key), part in slides.items() if at == number}
        blocks = _case_blocks(store, own, records)
        yield from [Section(name, tuple(blocks))] if records.case else blocks
    records.case = ""


def _find_slide_lesions(case: Case) -> dict[Path, CaseLesion]:
    images = case.iterate_images()
    return {real_path(image.path): lesion for lesion, image in images if lesion is not None and image.is_slide}


def _find_owner(slide: Path | None, owners: Mapping[Path, CaseLesion]) -> CaseLesion | None:
    return None if slide is None else owners.get(real_path(slide))


def _collect_slides(
    inputs: ReportInputs, owners: Mapping[Path, CaseLesion]
) -> tuple[dict[tuple[int, str], SlidePart], list[SlidePart]]:
    """Read the slides of cases, by case number and image id, and the slides of other results.

    ``owners``: lesions of the latter, by file.
    """
    slides: dict[tuple[int, str], SlidePart] = {}
    unassigned = list(inputs.slides)
    for number, store in enumerate(inputs.cases):
        for lesion, image in store.case.iterate_images():
            if image.is_slide:
                part = SlidePart.from_image(image, unassigned, lesion)
                if image.id in store.unread:
                    part = replace(part, faults=(store.unread[image.id], *part.faults))
                if lesion is not None and part.synoptic == lesion.report:
                    part = replace(part, synoptic=None)  # it is shown with the lesion
                unassigned = [folder for folder in unassigned if folder != part.folder]
                slides[number, image.id] = part
    return slides, [SlidePart.from_folder(one, _find_owner(recorded_slide(one), owners)) for one in unassigned]


def _case_blocks(store: CaseStore, slides: Mapping[str, SlidePart], records: ReportRecords) -> list[Block]:
    """Return the blocks of a case: the summary, the lesions, and measurements; ``slides``: by id of the image."""
    case, numbers = store.case, number_lesions(store.case)
    records.lesion_changes = _list_lesion_changes(store, slides)
    patient = _list_known_fields(case.patient, PATIENT_FIELDS, personal=records.personal)
    marks = [SiteMark(numbers[one.id], site_word(one.site, one.sub_site), one.laterality) for one in case.lesions]
    problems: list[Block] = []
    predictions = _read_predictions(store, problems, records)
    measured: list[tuple[str, Mapping[str, float]]] = []
    summaries, sections = [], []
    for lesion in case.lesions:
        name = f"Lesion {numbers[lesion.id]}"
        title = f"{name}: {site_title(site_word(lesion.site, lesion.sub_site), lesion.laterality)}"
        found = predictions.find_lesion(lesion.id) if predictions else None
        content = (
            *_lesion_blocks(store, lesion, name, predictions, records),
            *_image_sections(store, lesion, slides, measured, records, classified=found is not None),
            *_change_sections(lesion, records),
        )
        values, status = summarize_lesion(
            lesion,
            {_image_name(one.id): slides[one.id] for one in lesion.images if one.is_slide},
            _list_known_fields(lesion, SUMMARY_FIELDS, personal=records.personal),
            _summarize_prediction(store, lesion, predictions),
            records,
        )
        summaries.append(LesionSummary(title, values, status, content))
        sections.append(Section(title, content or (Text("No data."),), lesion.label if records.personal else ""))
    for image in case.images:
        if image.is_slide and (slides[image.id].synoptic or slides[image.id].depth):
            name = _image_name(image.id)
            alone = CaseLesion(id="L0", images=(image,))
            values, status = summarize_lesion(alone, {name: slides[image.id]}, {}, "", records)
            summaries.append(LesionSummary(f"{name}, without a lesion", values, status, ()))
    if case.images:
        images = _image_sections(store, None, slides, measured, records, classified=False)
        sections.append(Section("Images without a lesion", tuple(images)))
    body = BodyMap(tuple(marks)) if marks else None
    tables = (
        measurement_table(measured[start : start + TABLE_IMAGES], defined=False)
        for start in range(0, len(measured), TABLE_IMAGES)
    )
    measurements = (Section("Measurements", tuple(tables)),) if measured else ()
    imports = (Text(f"Values that were read from files. {text}", quiet=True) for text in case.imports)
    return [*summary_section(patient, summaries, body), *imports, *problems, *sections, *measurements]


def _list_lesion_changes(store: CaseStore, slides: Mapping[str, SlidePart]) -> dict[str, tuple[str, ...]]:
    """Return what has changed since the report of each lesion was signed, by id; ``slides``: by id of the image."""
    changes = {}
    for lesion in store.case.lesions:
        if lesion.report is not None and lesion.report.is_signed:
            content = read_lesion_content(store.case, lesion, store.folder, lambda image: slides[image.id].folder)
            changes[lesion.id] = tuple(map(str, content.list_changes(lesion.report)))
    return changes


def _summarize_prediction(store: CaseStore, lesion: CaseLesion, predictions: CasePredictions | None) -> str:
    """Return the headline of the prediction for a lesion from its photographs; empty without one."""
    found = predictions.find_lesion(lesion.id) if predictions else None
    if predictions is None or found is None:
        return ""
    return found.prediction.headline.statement if predictions.is_current(store.case, lesion.id) else OUTDATED


def _read_predictions(store: CaseStore, blocks: list[Block], records: ReportRecords) -> CasePredictions | None:
    try:
        return read_predictions(store.folder)
    except InputError as error:
        text = f"the predictions for its lesions ({PREDICTIONS_FILE}) cannot be read."
        blocks.append(records.add_problem("Case", text, error))
        return None


def _lesion_blocks(
    store: CaseStore, lesion: CaseLesion, name: str, predictions: CasePredictions | None, records: ReportRecords
) -> Iterator[Block]:
    """Yield the clinical data of a lesion, its prediction, and the sections of packages."""
    if values := _list_lesion_values(lesion):
        yield fields("Lesion", values)
    yield from add_lesion_sections(lesion, name, records, is_first=True)
    yield from _prediction_sections(store, lesion, name, predictions, records)
    yield from add_lesion_sections(lesion, name, records, is_first=False)


def _prediction_sections(
    store: CaseStore, lesion: CaseLesion, name: str, predictions: CasePredictions | None, records: ReportRecords
) -> Iterator[Section]:
    lesion_prediction = predictions.find_lesion(lesion.id) if predictions else None
    if predictions is None or lesion_prediction is None:
        return
    outdated = not predictions.is_current(store.case, lesion.id)
    blocks = prediction_blocks(lesion_prediction.prediction, outdated=outdated, personal=records.personal)
    if comparison := predictions.describe_outlier(store.case, lesion.id):
        blocks = (*blocks, Text(comparison))
    origin = {"model": vars(lesion_prediction.prediction.model), "provenance": lesion_prediction.prediction.provenance}
    records.add_origin(name, origin)
    image_names = format_names([_image_name(one) for one in lesion_prediction.image_ids])
    yield Section("Prediction", blocks, f"From {image_names.lower()}")
    fused = fuse_lesion(store.case, lesion, lesion_prediction, is_current=not outdated)
    if fused is not None:
        yield _fusion_section(fused)


def _fusion_section(fused: FusedCase) -> Section:
    """Return the predictions from photographs, slide and patient data in one table."""
    rows = tuple((one.part, one.outcome, one.value, one.effect) for one in fused.parts)
    columns = ("Part", "Predicts", "Probability (interval)", "Effect on the probability")
    table = Table("Predictions from photographs, slide and patient data", columns, rows)
    return Section("Photographs, slide and patient data", (table, Notice(fused.reason)))


def _change_sections(lesion: CaseLesion, records: ReportRecords) -> Iterator[Section]:
    """Yield the comparison of the first and the last photograph of each modality."""
    for pair in list_follow_ups(lesion):
        names = _image_name(pair.first.id), _image_name(pair.second.id)
        subtitle = f"{names[1]}, {format_days_later(pair.first.taken_on, pair.second.taken_on)} than {names[0].lower()}"
        if records.personal:
            subtitle += f" ({pair.first.taken_on} and {pair.second.taken_on})"
        yield Section("Change over time", _compare_photographs(pair, names, records), subtitle)


def _compare_photographs(pair: ImagePair, names: tuple[str, str], records: ReportRecords) -> tuple[Block, ...]:
    """Return the comparison of two photographs, or a notice why there is none."""
    both = " and ".join(names)
    try:
        return _comparison_blocks(compare_images(pair, records.run), names)
    except BATCH_ERRORS:
        raise
    except InputError:  # its message contains file names; the section of the photograph states the problem
        return (Notice(f"{both} cannot be compared: one of them or its contour is not usable."),)
    except MelanomaError as error:
        return (Notice(f"{both} cannot be compared: {error}"),)
    except Exception as error:  # noqa: BLE001 - any error concerns this comparison only; the others continue
        return (records.add_problem(both, "cannot be compared: an unexpected error occurred.", error),)


def _comparison_blocks(changes: LesionChanges, names: tuple[str, str]) -> tuple[Block, ...]:
    """Return cautions, the registered photographs, the table of changes, and notes."""
    pictures = changes.pictures
    figures = (
        (pictures.first, pictures.first_mask, names[0], "contour"),
        (pictures.second, pictures.second_mask, names[1], f"registered, with the light of {names[0].lower()}"),
    )
    gallery = Gallery(
        tuple(
            make_figure(
                draw_photograph(rgb, pictures.pixel_size, mask),
                f"{name} with the contour of the lesion in yellow",
                f"{name}: {caption}",
            )
            for rgb, mask, name, caption in figures
        )
    )
    rows = tuple((one.title, *one.values, one.text, one.conclusion) for one in changes.changes)
    table = Table("Changes", ("Measurement", *names, "Change (interval)", "Conclusion"), rows)
    notes = (Text(note, quiet=True) for note in changes.notes)
    return (*map(Notice, changes.cautions), gallery, table, *notes)


def _image_sections(
    store: CaseStore,
    lesion: CaseLesion | None,
    slides: Mapping[str, SlidePart],
    measured: list[tuple[str, Mapping[str, float]]],
    records: ReportRecords,
    *,
    classified: bool,
) -> Iterator[Block]:
    """Yield a section for each image of a lesion, or without a lesion, in the order of the case.

    ``measured``: is extended by the measurements of its photographs. ``classified``: whether the lesion has a
    prediction, which replaces those of its photographs.
    """
    images = store.case.images if lesion is None else lesion.images
    first = min((image.taken_on for image in images if image.taken_on), default="")
    for image in images:
        name = _image_name(image.id)
        records.begin_part(name)
        title = ", ".join(filter(None, (name, MODALITIES.get(image.modality, image.modality))))
        subtitle = _describe_time(image, first, records)
        try:
            if image.is_slide:
                yield slide_section(slides[image.id], title, subtitle, name, records)
                continue
            part = case_photograph(
                image,
                name,
                records,
                missing=store.missing.get(image.id),
                classified=classified,
                metadata=collect_metadata(store.case, lesion, image),
            )
            measured.extend([(name, part.measurements)] if part.measurements else [])
            yield Section(title, part.blocks, subtitle)
        except BATCH_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - any error concerns this image only; the others continue
            yield Section(title, (records.add_problem(name, "cannot be shown: its data are damaged.", error),))


def _image_name(image_id: str) -> str:
    return f"Image {image_id.removeprefix('I')}"


def _describe_time(image: CaseImage, first: str, records: ReportRecords) -> str:
    """Describe when an image was taken: the interval from the first one; with ``personal`` day and file name."""
    later = format_days_later(first, image.taken_on) if image.taken_on != first else ""
    if not records.personal:
        return later
    return ", ".join(filter(None, (image.path.name, image.taken_on, later)))


def _result_sections(
    photographs: Sequence[Path],
    slides: Sequence[SlidePart],
    owners: Mapping[Path, CaseLesion],
    records: ReportRecords,
) -> Iterator[Block]:
    """Yield a section for each result that belongs to no reported case; ``owners``: lesions of slides, by file."""
    for number, folder in enumerate(photographs, start=1):
        yield _collect_result(f"Photograph {number}", folder, partial(_photograph_section, folder), records)
    for number, part in enumerate(slides, start=1):
        collect = partial(_slide_result_section, part, _find_owner(part.path, owners))
        yield _collect_result(f"Slide {number}", part.folder, collect, records)


def _collect_result(
    name: str, folder: Path | None, collect: Callable[[str, ReportRecords], Section], records: ReportRecords
) -> Block:
    """Collect a result, or state the problem."""
    records.begin_part(name)
    try:
        return collect(name, records)
    except BATCH_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - any error concerns this result only; the others continue
        text = "cannot be shown: its result is missing or damaged."
        return records.add_problem(name, text, f"{folder}: {describe_error(error)}")


def _photograph_section(folder: Path, name: str, records: ReportRecords) -> Section:
    part = result_photograph(folder, name, records)
    tables = [measurement_table([("Value", part.measurements)])] if part.measurements else []
    blocks = (*part.blocks, *(Section("Measurements", (table,)) for table in tables))
    return Section(name, blocks, folder.name if records.personal else "")


def _slide_result_section(part: SlidePart, lesion: CaseLesion | None, name: str, records: ReportRecords) -> Section:
    subtitle = part.folder.name if part.folder and records.personal else ""
    section = slide_section(part, name, subtitle, name, records)
    if lesion is None:
        return section
    site = site_title(site_word(lesion.site, lesion.sub_site), lesion.laterality)
    values = {"Site": site, **_list_lesion_values(lesion)}
    return replace(section, blocks=(fields("Lesion of the case", values), *section.blocks))


def _list_lesion_values(lesion: CaseLesion) -> dict[str, str]:
    """Return the known values of a lesion by their titles, without the site, which is in a title."""
    return dict(one.row for one in lesion_block(lesion).blocks if one.key not in SITE_COLUMNS)


def _list_known_fields(part: CasePart, names: Sequence[str], *, personal: bool) -> dict[str, str]:
    texts = {name: _format_field(part, name, personal=personal) for name in names}
    return {field_title(name): text for name, text in texts.items() if text}


def _format_field(part: CasePart, name: str, *, personal: bool) -> str:
    """Format a field with its unit."""
    text, column = part.cell(name), find_column(name)
    if not text or column is None:
        return ""
    shown = hide_age(name, text, personal=personal)
    return format_table_cell(name, text) if shown == text else shown


OUTDATED_COPY = "The synoptic report in the case differs from that of the slide, which was signed later."
TWO_ANSWERS = "Two answers: {}: {} in the report of the case, {} in that of {}."
DRAFT = "Draft: there is no signed synoptic report."


@dataclass(frozen=True)
class LesionSummary:
    """A lesion on the first page.

    ``title``: with its site. ``values``: by label. ``status``: of its synoptic reports, such as ``Signed by AB.``, with
    what has changed after the signature.
    ``blocks``: its sections, in which the main picture is looked for.
    """

    title: str
    values: dict[str, str]
    status: str
    blocks: tuple[Block, ...]


def summarize_lesion(
    lesion: CaseLesion, parts: Mapping[str, SlidePart], known: dict[str, str], prediction: str, records: ReportRecords
) -> tuple[dict[str, str], str]:
    """Return the values of a lesion for the first page, and the status of its synoptic reports.

    ``parts``: its slides by the names of their images. ``known``: clinical data to show. ``prediction``: the headline
    of the prediction from its photographs; empty without one.
    """
    reports = [report for report in (lesion.report, *(part.synoptic for part in parts.values())) if report]
    # The copy in the case may be older than the report of its slide; that of another slide does not replace it
    reports.sort(key=lambda one: (not _is_of_other_slide(one, lesion.report), parse_time(one.signed_at)), reverse=True)
    values = {
        **known,
        "T category (AJCC 8)": _describe_category(lesion, parts, reports, records),
        "Prediction from photographs": prediction and to_sentence(prediction),
        **{f"Prediction from {name.lower()} (slide)": _describe_slide(part) for name, part in parts.items()},
    }
    statuses = [describe_status(one, records.readers, personal=records.personal) for one in reports]
    if lesion.report is not None:
        statuses += lesion.double_findings
        statuses += records.lesion_changes.get(lesion.id, ())
        is_later = reports[0].is_signed and parse_time(reports[0].signed_at) > parse_time(lesion.report.signed_at)
        if is_later and reports[0].answers != lesion.report.answers:
            statuses.append(OUTDATED_COPY)
        for name, part in parts.items():
            statuses += _list_other_answers(lesion.report, part.synoptic, name)
    statuses += [change for part in parts.values() for change in part.changes]
    return {label: text for label, text in values.items() if text}, " ".join(dict.fromkeys(statuses))


def _is_of_other_slide(report: SynopticReport, stored: SynopticReport | None) -> bool:
    """Whether a report was signed with another slide than the one in the case."""
    signed = (() if one is None else one.signed_report for one in (report, stored))
    files = {block.value for block in (find_block(blocks, SLIDE, "file") for blocks in signed) if block is not None}
    return len(files) > 1


def _list_other_answers(stored: SynopticReport, other: SynopticReport | None, name: str) -> Iterator[str]:
    """State each choice or number that the report in the case and that of a slide answer differently."""
    if other is None:
        return
    here, there = ({row.name: row.text for row in report.rows()} for report in (stored, other))
    for field in list_other_answers(other, stored):
        if field.kind != "text":
            yield TWO_ANSWERS.format(field.label, here[field.name], there[field.name], name.lower())


def summary_section(
    patient: dict[str, str], lesions: Sequence[LesionSummary], body: BodyMap | None
) -> Iterator[Section]:
    """Yield the summary of a case, unless nothing is known of it.

    ``patient``: known values by label. ``body``: the body map; None without a lesion.
    """
    statuses = [f"{one.title}. {one.status}" for one in lesions if one.status]
    picture = find_main_picture(lesions)
    figures = tuple(one for one in (picture, body) if one is not None)
    blocks: tuple[Block, ...] = (
        *([Notice(" ".join(statuses) or DRAFT, lead=True)] if lesions else []),
        *([fields("Patient", patient)] if patient else []),
        *(Table(one.title, (), tuple(one.values.items()), titled=True) for one in lesions if one.values),
        *([Gallery(figures)] if figures else []),
    )
    if blocks:
        yield Section("Summary", blocks, layout="page")


def find_main_picture(lesions: Sequence[LesionSummary]) -> Figure | None:
    """Return the picture of the first measurement of depth, or else the first picture; None without pictures."""
    figures = [(one.title, figure) for one in lesions for figure in _iterate_figures(one.blocks)]
    measured = [pair for pair in figures if pair[1].caption.startswith(LINE_CAPTION)]
    if not figures:
        return None
    title, figure = (measured or figures)[0]
    return Figure(figure.picture, f"{title}: {figure.alt}", f"{title}. {figure.caption}")


def _iterate_figures(blocks: Sequence[Block]) -> Iterator[Figure]:
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Section):
            yield from _iterate_figures(block.blocks)
        elif isinstance(block, Gallery):
            yield from (figure for figure in block.figures if isinstance(figure, Figure))


def _describe_category(
    lesion: CaseLesion, parts: Mapping[str, SlidePart], reports: Sequence[SynopticReport], records: ReportRecords
) -> str:
    """Describe the T category of a lesion with what decided it; empty if it is unknown.

    A synoptic report precedes readings of slides, then the values entered in the case, then the analysis.
    """
    for report in reports:
        if report.stage.category or report.stage.is_contradictory:
            return f"{report.stage.text.removesuffix('.')} (synoptic report)"
    readings = ((name, latest_reading(part.depth)) for name, part in parts.items())
    measured = {name: one.without_predicted_findings() for name, one in readings if one and one.mm is not None}
    if measured:
        return "; ".join(_describe_reading(name, reading, records) for name, reading in measured.items())
    if lesion.depth_mm is not None:
        category = category_of_thickness(lesion.depth_mm, lesion.ulceration)
        ulceration = {None: "unknown", True: "present", False: "not identified"}[lesion.ulceration]
        return f"{category}: {format_thickness(lesion.depth_mm)}, ulceration {ulceration} (entered in the case)"
    depths = [describe_depth(part.content) for part in parts.values() if part.content.get("breslow_mm") is not None]
    return "; ".join(f"{to_sentence(depth).removesuffix('.')} (analysis, not confirmed)" for depth in depths)


def _describe_reading(name: str, reading: DepthReading, records: ReportRecords) -> str:
    assert reading.mm is not None, "only measured readings are described"
    thickness = format_thickness(reading.mm, reading.interval_mm, at_least=reading.at_least)
    reader = records.readers.get(reading.reader, "")
    by = f" by {reader}" if reader else ""
    ulceration = f"ulceration {describe_finding(reading, 'ulceration')}"
    return f"{format_category(reading)}: {thickness}, {ulceration} (reading of {name.lower()}{by})"


def _describe_slide(part: SlidePart) -> str:
    """Return the headline of the analysis of a slide; empty without one, or if it predicts no probability."""
    prediction = describe_prediction(part.content) if part.content else ""
    if prediction in ("", "analyzed"):
        return ""
    return to_sentence(read_validity(part.content).headline(prediction))
