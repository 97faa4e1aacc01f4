"""The synoptic report of a slide: its file ``synoptic.json``, and what a signed one rests on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_melanoma.core.errors import ConfigError, InputError, MelanomaError
from napari_melanoma.core.files import back_up_if_changed, file_stamp, write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.depth.readings import (
    DEPTH_FILE,
    DepthReading,
    SlideDepthReadings,
    read_depth_file,
)
from napari_melanoma.depth.synoptic import (
    ANSWERS,
    DERIVED,
    NOT_FILLED_IN,
    SIGNATURE,
    SynopticLesion,
    SynopticReport,
    describe_finding,
    format_stored_answer,
)
from napari_melanoma.depth.synoptic_fields import ANSWERED, FIELDS, FIELDS_BY_NAME
from napari_melanoma.depth.t_category import format_thickness
from napari_melanoma.io.results import OUTLINES, RESULT, read_slide_result
from napari_melanoma.slides.lesion_files import read_lesions
from napari_melanoma.slides.lesions import LESION_CLASSES, LesionConfig, SlideLesion
from napari_melanoma.slides.notes import NOTES, read_notes
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.result_folder import open_fingerprint, record_new_slide, recorded_slide
from napari_melanoma.slides.results import slide_probability

SYNOPTIC_FILE = "synoptic.json"


def load_synoptic(folder: Path) -> SynopticReport | None:
    """Read the synoptic report of a slide; None if there is none."""
    path = folder / SYNOPTIC_FILE
    if not path.is_file():
        return None
    try:
        return SynopticReport.parse(read_json(path), str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise InputError(
            f"{path} does not contain a valid synoptic report: {parse_error_reason(error)} Restore it from a backup, "
            "or move it away; it is not overwritten."
        ) from error


def save_synoptic(folder: Path, report: SynopticReport) -> None:
    """Write the synoptic report of a slide, atomically; raise InputError if the existing file is damaged."""
    load_synoptic(folder)
    content = report.model_dump(mode="json")
    if not report.is_signed:  # until then, findings are in the depth reading
        content[DERIVED] = {"status": report.status}
    write_json(folder / SYNOPTIC_FILE, content)


@dataclass(frozen=True)
class SignatureBasis:
    """What a signed report rests on, as it is now: the state that the entries of ``BASIS`` read.

    ``reading``: of the reader who signs. ``fingerprint``: of the slide file; empty if it is missing. ``analysis``: the
    content of ``result.json``. ``lesion``: of the case. ``left_out``: names of entries that cannot be compared now.
    """

    reading: DepthReading = field(default_factory=DepthReading)
    fingerprint: str = ""
    pixel_size: PixelSize | None = None
    lesions: Sequence[SlideLesion] | None = None
    threshold: float | None = None
    analysis: Mapping[str, Any] = field(default_factory=dict)
    lesion: SynopticLesion | None = None
    left_out: frozenset[str] = frozenset()

    def values(self) -> dict[str, Any]:
        """Return the values to store with a signature, by name of the entry; None for what is not available."""
        left_out = self.left_out | (CASE_ENTRIES if self.lesion is None else frozenset())
        return {name: entry.read(self) for name, entry in BASIS.items() if name not in left_out}


class BasisEntry(NamedTuple):
    """A value that a signed report rests on: its label, how it is read (as JSON, None if unknown) and formatted."""

    label: str
    read: Callable[[Any], Any]  # of the SignatureBasis
    format: Callable[[Any], str] = str


def _digest(value: object, *, sort_keys: bool = False) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=sort_keys).encode()).hexdigest()[:8]


def _round(points: Iterable[Iterable[float]]) -> list[list[float]]:
    return [[round(value, 1) for value in point] for point in points]


def format_sourced_scale(value: Sequence[Any]) -> str:
    """Format a pixel size, (height, width), with its source."""
    y_um, x_um, source = value
    side = f"{x_um:.6g}" if x_um == y_um else f"{y_um:.6g} x {x_um:.6g}"
    return f"{side} µm per pixel ({source})"


def _format_line(ends: Sequence[Sequence[float]]) -> str:
    return " to ".join(f"({row:.1f}, {column:.1f})" for row, column in ends) or "none"


def _find_state(reading: DepthReading, name: str) -> str:
    """Return why a finding has no value, such as not assessed; empty if a reader has not stated it."""
    remark = reading.remarks.get(name)
    return "" if remark is None or remark.state == ANSWERED or reading.finding(name) is not None else remark.state


def _read_breslow(basis: SignatureBasis) -> list[Any]:
    reading = basis.reading
    state = _find_state(reading, "breslow")
    return [reading.mm, reading.at_least, *([state] if state else [])]


def _format_breslow(value: Sequence[Any]) -> str:
    mm, at_least, *state = value
    return format_thickness(mm, at_least=at_least) if mm is not None else str(state[0] if state else "not measured")


def _read_mitoses(basis: SignatureBasis) -> dict[str, Any]:
    mitoses, states = basis.reading.mitoses, dict[str, str]()
    for key, name in (("state", "mitotic_rate"), ("count_state", "mitoses_counted"), ("area_state", "mitoses_area")):
        states |= {key: state} if (state := _find_state(basis.reading, name)) else {}
    return {"counted": mitoses.counted, "per_mm2": mitoses.per_mm2, **states}


def _format_mitoses(value: Mapping[str, Any]) -> str:
    counted, rate = value["counted"], value["per_mm2"]
    parts = (
        f"{rate:.1f} per mm²" if rate is not None else value.get("state"),
        f"{counted} counted" if counted is not None else _prefix("count ", value.get("count_state")),
        _prefix("area ", value.get("area_state")),
    )
    return ", ".join(filter(None, parts)) or "unknown"


def _prefix(label: str, state: str | None) -> str:
    return f"{label}{state}" if state else ""


def _read_margin(name: str) -> Callable[[SignatureBasis], float | str]:
    def read(basis: SignatureBasis) -> float | str:
        state = _find_state(basis.reading, name)
        value = basis.reading.finding(name)
        return float(value) if value is not None else state or "not measured"

    return read


def _read_lesions(basis: SignatureBasis) -> dict[str, Any] | None:
    if basis.lesions is None:
        return None
    areas = [lesion.area_mm2 for lesion in basis.lesions if lesion.area_mm2 is not None]
    labels = [lesion.label for lesion in basis.lesions]
    # Labels of a model that does not distinguish malignant lesions are the name of its class
    malignant = labels.count("malignant") if labels and {*labels} <= LESION_CLASSES else None
    mm2 = float(f"{sum(areas):.3g}") if areas else None  # as it is formatted: files contain rounded outlines
    return {"count": len(basis.lesions), "malignant": malignant, "mm2": mm2}


def _format_lesions(value: Mapping[str, Any]) -> str:
    area = "" if value["mm2"] is None else f", {value['mm2']:.3g} mm² in total"
    malignant = "" if value["malignant"] is None else f", {value['malignant']} malignant"
    return f"{value['count']}{malignant}{area}"


def _read_outlines(basis: SignatureBasis) -> str | None:
    if basis.lesions is None:
        return None
    digest = hashlib.sha256()
    for lesion in basis.lesions:
        digest.update(f"{lesion.label}, {len(lesion.polygons)} parts".encode())
        for ring in (ring for part in lesion.polygons for ring in part.rings):
            digest.update(f"{len(ring)} points".encode())
            digest.update((np.round(np.asarray(ring, np.float64), 1) + 0.0).tobytes())  # -0.0 becomes 0.0
    return digest.hexdigest()[:8]


def _read_model(basis: SignatureBasis) -> list[str] | None:
    model = basis.analysis.get("model") or {}
    return [str(model.get("name") or ""), str(model.get("fingerprint") or "")] if model else None


def _read_tissue(basis: SignatureBasis) -> dict[str, float | None] | None:
    areas = {name: area.get("mm2") for name, area in (basis.analysis.get("areas") or {}).items()}
    return {"": basis.analysis["tissue_mm2"], **areas} if basis.analysis.get("tissue_mm2") else None


def _format_tissue(value: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {mm2:.3f} mm²".strip() for name, mm2 in value.items() if mm2 is not None)


def _known(value: float | None, missing: str = "not measured") -> float | str:
    return missing if value is None else value


def _format_mm(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g} mm"


def _format_case_thickness(value: float | str) -> str:
    return value if isinstance(value, str) else format_thickness(value)


def _format_rate(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f} per mm²"


def _format_names(words: Sequence[str]) -> str:
    return ", ".join(filter(None, words)) or "unknown"


# Everything that a signed report rests on. The rotation of the slide is not listed: it changes the view, but no value.
BASIS: Mapping[str, BasisEntry] = {
    "slide_file": BasisEntry(
        "slide file", lambda one: one.fingerprint or None, lambda value: f"{value[:12]} (hash of its size and samples)"
    ),
    "scale": BasisEntry(
        "scale",
        lambda one: one.pixel_size and [one.pixel_size.y_um, one.pixel_size.x_um, one.pixel_size.source],
        format_sourced_scale,
    ),
    "line": BasisEntry("line of the thickness", lambda one: _round(one.reading.line or ()), _format_line),
    "breslow": BasisEntry(
        "Breslow thickness",
        _read_breslow,
        _format_breslow,
    ),
    "ulceration": BasisEntry("ulceration", lambda one: describe_finding(one.reading, "ulceration")),
    "clark": BasisEntry("Clark level", lambda one: describe_finding(one.reading, "clark")),
    "mitoses": BasisEntry("mitoses", _read_mitoses, _format_mitoses),
    "mitosis_marks": BasisEntry(
        "marks of mitoses",
        lambda one: _round(one.reading.mitoses.points),
        lambda value: f"{len(value)} (positions {_digest(value)})" if value else "none",
    ),
    "mitosis_areas": BasisEntry(
        "area of the mitoses",
        lambda one: [one.reading.mitoses.mm2, [_round(area) for area in one.reading.mitoses.areas]],
        lambda value: (
            f"{value[0] or 0:.4g} mm² ({f'outline {_digest(value[1])}' if value[1] else 'entered'})"
            if value[1] or value[0] is not None
            else "none"
        ),
    ),
    "lateral_margin": BasisEntry("peripheral margin", _read_margin("peripheral_distance_invasive"), _format_mm),
    "deep_margin": BasisEntry("deep margin", _read_margin("deep_distance_invasive"), _format_mm),
    "lesions": BasisEntry("lesions on the slide", _read_lesions, _format_lesions),
    "outlines": BasisEntry("classes and outlines of the lesions", _read_outlines, lambda value: f"version {value}"),
    "threshold": BasisEntry("threshold of the lesions", lambda one: one.threshold, lambda value: f"{value:.2f}"),
    "model": BasisEntry("model", _read_model, lambda value: f"{value[0]} ({value[1][:8]})"),
    "probability": BasisEntry(
        "probability of the slide", lambda one: slide_probability(one.analysis), lambda value: f"{value:.3f}"
    ),
    "tissue": BasisEntry("tissue", _read_tissue, _format_tissue),
    "analysis_scale": BasisEntry(
        "scale of the analysis",
        lambda one: one.analysis.get("mpp") and [*one.analysis["mpp"], one.analysis.get("mpp_source") or "unknown"],
        format_sourced_scale,
    ),
    "case_breslow": BasisEntry(
        "Breslow thickness in the case", lambda one: _known(one.lesion.depth_mm), _format_case_thickness
    ),
    "case_ulceration": BasisEntry(
        "ulceration in the case",
        lambda one: {None: "unknown", True: "present", False: "not identified"}[one.lesion.ulceration],
    ),
    "case_mitoses": BasisEntry(
        "mitoses in the case", lambda one: _known(one.lesion.mitoses_per_mm2, "unknown"), _format_rate
    ),
    "case_site": BasisEntry(
        "site in the case", lambda one: [one.lesion.laterality, one.lesion.site, one.lesion.sub_site], _format_names
    ),
    "case_diagnosis": BasisEntry("diagnosis in the case", lambda one: [one.lesion.diagnosis_detail], _format_names),
}
BASIS_FILES = (SYNOPTIC_FILE, DEPTH_FILE, NOTES, RESULT, OUTLINES)  # of the folder, from which entries are read
CASE_ENTRIES = frozenset(name for name in BASIS if name.startswith("case_"))
SLIDE_ENTRIES = frozenset(BASIS) - CASE_ENTRIES
ANALYSIS_ENTRIES = frozenset(("model", "probability", "tissue", "analysis_scale"))
LESION_ENTRIES = frozenset(("lesions", "outlines", "threshold"))
NO_VALUE = ("unknown", "not measured", "not assessed")
CHANGED = "Changed after signature"
SIGNED_ELSEWHERE = "The last change was not saved: the {} was signed by {} in another window. It is shown now."
DAMAGED = (
    "The synoptic report of the slide cannot be read, and it may be signed: what has changed since is unknown. Restore "
    "synoptic.json from a backup."
)
NOT_RECORDED = "What the signature rests on was not recorded: whether it has changed since is unknown."


def lesion_basis(lesion: SynopticLesion) -> SignatureBasis:
    """Return what the report of a lesion of a case rests on."""
    return SignatureBasis(lesion=lesion, left_out=SLIDE_ENTRIES)


def list_changes_since_signature(report: SynopticReport, basis: SignatureBasis) -> tuple[str, ...]:
    """State each value that a signed report rests on and that has changed, with both values; empty if not signed.

    Also stated: what is missing now, and what was not recorded when the report was signed.
    """
    if not report.is_signed:
        return ()
    if not report.signed_values:
        return (NOT_RECORDED,)
    now, changes = basis.values(), list[str]()
    for name, signed in report.signed_values.items():
        if name not in now:
            continue
        label, before, after = BASIS[name].label, _format_value(name, signed), _format_value(name, now[name])
        if before in NO_VALUE and name in CASE_ENTRIES:
            continue  # it was added to the case later
        if now[name] is None and signed is not None:
            changes.append(f"Not verified since the signature: {label}: {before} when signed, now not found.")
        elif not _is_same(signed, now[name]):
            texts = (before, after) if before != after else (json.dumps(signed), json.dumps(now[name]))
            changes.append(f"{CHANGED}: {label}: {texts[0]} when signed, now {texts[1]}.")
    changes += _list_changed_answers(report)
    missing = [BASIS[name].label for name in now if name in SLIDE_ENTRIES - report.signed_values.keys()]
    if missing:
        changes.append(f"Not recorded when signed, so that changes are unknown: {format_names(missing)}.")
    return tuple(changes)


def _list_changed_answers(report: SynopticReport) -> Iterator[str]:
    """State each answer that another program has changed in a signed report, with both."""
    signed, suggested = report.signed_values.get(ANSWERS) or {}, {*report.suggested}  # the latter are not signed
    now = {name: answer for name, answer in report.stored_answers.items() if name not in suggested}
    if isinstance(signed, Mapping):
        for label, before, after in _compare_answers(signed, now):
            yield f"{CHANGED}: {label} (answer): {before} when signed, now {after}."
    elif signed != _digest(now, sort_keys=True):  # reports that earlier versions signed have a hash
        yield f"{CHANGED}: answers: which ones is unknown, as only a hash was recorded when signed."


def _compare_answers(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the label of each field whose answers differ, with both; of a text, only that it is another one."""
    for name in {**dict.fromkeys(FIELDS_BY_NAME), **first, **second}:
        if first.get(name) == second.get(name):
            continue
        before, after = (format_stored_answer(name, one.get(name)) or NOT_FILLED_IN for one in (first, second))
        label = FIELDS_BY_NAME[name].label if name in FIELDS_BY_NAME else name
        yield label, before, f"{after} with another text" if before == after else after


def list_other_changes(
    folder: Path, slide: Path, shown: SynopticReport, basis: SignatureBasis, reader: str
) -> tuple[str, ...]:
    """Name each answer, finding of a reader and scale that differs between a window and the files, with both values.

    ``shown``, ``basis``: the report and what it rests on as the window has shown them.
    """
    stored = load_synoptic(folder) or SynopticReport()
    answers = (one.without_findings().stored_answers for one in (shown, stored))
    before, now = basis.values(), read_signature_basis(folder, read_depth(folder), reader, slide=slide).values()
    names = (name for name in BASIS if name in SLIDE_ENTRIES - ANALYSIS_ENTRIES - LESION_ENTRIES)
    changed = (name for name in names if not _is_same(before.get(name), now[name]))
    values = (
        (BASIS[name].label, _format_value(name, before.get(name)), _format_value(name, now[name])) for name in changed
    )
    return tuple(f"{label}: {first}, now {second}" for label, first, second in (*_compare_answers(*answers), *values))


def _is_same(first: Any, second: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether two values are equal, numbers except for the last digits."""
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_is_same, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_is_same(value, second[key]) for key, value in first.items())
    if isinstance(first, float) and isinstance(second, float | int):
        return isclose(first, second, rel_tol=1e-9)
    return bool(first == second)


def _format_value(name: str, value: Any) -> str:  # noqa: ANN401 - JSON
    """Format a value of any form: another program may have changed it."""
    if value is None:
        return "unknown"
    try:
        return BASIS[name].format(value)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return json.dumps(value)


def read_depth(folder: Path) -> SlideDepthReadings:
    """Read the depth readings of a slide."""
    return read_depth_file(folder / DEPTH_FILE)


def read_synoptic(
    folder: Path, lesion: SynopticLesion | None = None, slide: Path | None = None, reader: str | None = None
) -> tuple[SynopticReport | None, tuple[str, ...]]:
    """Read the synoptic report of a slide with its findings; None if there is none.

    ``reader``: whose findings an unsigned report gets, by default those of the reader who edited it last.
    Also returned: what has changed since the signature.
    """
    report = load_synoptic(folder)
    if report is None:
        return None, ()
    depth = read_depth(folder)
    changes: tuple[str, ...] = ()
    if report.is_signed:
        basis = read_signature_basis(folder, depth, report.signed_by, lesion, slide)
        changes = list_changes_since_signature(report, basis)
    reading = report.own_reading(depth) if reader is None else depth.reading_by(reader)
    return report.with_findings(reading or DepthReading()), changes


def read_stated_synoptic(
    folder: Path, lesion: SynopticLesion | None = None, slide: Path | None = None
) -> tuple[SynopticReport | None, tuple[str, ...]]:
    """Read the synoptic report of a slide as ``read_synoptic`` does; that it is damaged is stated as a change."""
    try:
        return read_synoptic(folder, lesion, slide)
    except InputError:
        return None, (DAMAGED,)


def read_signature_basis(
    folder: Path,
    depth: SlideDepthReadings,
    reader: str,
    lesion: SynopticLesion | None = None,
    slide: Path | None = None,
) -> SignatureBasis:
    """Read what a report that a reader has signed rests on from the result folder of a slide.

    ``slide``: its file; by default the recorded one. ``lesion``: of its case, if known.
    """
    path, analysis = slide or recorded_slide(folder), read_slide_result(folder)
    lesions, threshold = None, None
    with suppress(InputError, ConfigError):  # unreadable lesions are reported elsewhere
        if (lesions := read_lesions(folder)) is not None:
            options = analysis.get("options") or {}
            threshold = LesionConfig.parse(dict(options.get("lesions") or {}), "result.json").high
    return SignatureBasis(
        reading=depth.reading_by(reader) or DepthReading(),
        fingerprint="" if path is None else open_fingerprint(path),
        pixel_size=_read_scale(folder, path),
        lesions=lesions,
        threshold=threshold,
        analysis=analysis,
        lesion=lesion,
    )


def _read_scale(folder: Path, slide: Path | None) -> PixelSize | None:
    """Return the pixel size that a user has set, else that of the file; None if it is unknown."""
    if (own := read_notes(folder).pixel_size) is not None or slide is None:
        return own
    try:
        with open_slide(slide) as opened:
            return opened.info.pixel_size
    except (MelanomaError, OSError):
        return None


@dataclass(frozen=True)
class StoredSynoptic:
    """The synoptic report of a slide, with notes for the user; ``stamp`` identifies the version of the file."""

    report: SynopticReport
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None


def read_stored_synoptic(folder: Path) -> StoredSynoptic:
    """Read the report of a slide, which is empty if there is none; raise InputError if the file is damaged."""
    stamp = file_stamp(folder / SYNOPTIC_FILE)
    return StoredSynoptic(load_synoptic(folder) or SynopticReport(), stamp=stamp)


def compare_reports(report: SynopticReport, other: SynopticReport) -> str:
    """List the values of another report of the same lesion that differ; empty if there are none.

    Suggestions are left out, except imported values of the other report.
    """
    differences = []
    for one in FIELDS:
        own, stored = report.answer(one.name), other.answer(one.name)
        if own is None or stored is None or own.suggested_by or stored.suggested_by not in ("", "case"):
            continue
        if (own.state, own.value) != (stored.state, stored.value):
            here, there = (format_stored_answer(one.name, answer.model_dump(mode="json")) for answer in (own, stored))
            differences.append(one.label if one.kind == "text" else f"{one.label} {there} (here {here})")
    return "; ".join(differences)


def find_other_signature(folder: Path, report: SynopticReport) -> SynopticReport | None:
    """Return the stored report of a slide if it was signed after ``report`` was read; None if not."""
    stored = load_synoptic(folder)
    if stored is None or not stored.is_signed:
        return None
    count = len(stored.history)
    later = (change.field for change in report.history[count:])
    is_known = report.signed_at == stored.signed_at or SIGNATURE in later
    return None if is_known and report.history[:count] == stored.history else stored


def store_synoptic(folder: Path, slide: Path, report: SynopticReport, known: tuple[int, int] | None) -> StoredSynoptic:
    """Save a report in the result folder of a slide, atomically; a file changed by another program is backed up first.

    A report that was signed in the meantime is not replaced, but returned with a note. ``known``: stamp of the file
    when it was last read or saved. Returns the report with the new stamp, and a note on the backup.
    """
    path = folder / SYNOPTIC_FILE
    if (signed := find_other_signature(folder, report)) is not None:
        return StoredSynoptic(signed, (SIGNED_ELSEWHERE.format("report", signed.signed_by),), file_stamp(path))
    record_new_slide(folder, slide)
    notes = back_up_if_changed(path, known)
    save_synoptic(folder, report)
    return StoredSynoptic(report, notes, file_stamp(path))
