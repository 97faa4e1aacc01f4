"""Read and write the synoptic report of a slide: ``synoptic.json`` in its result folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import back_up_if_changed, file_stamp, write_json
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.depth.readings import SlideDepthReadings
from napari_melanoma.depth.synoptic import SynopticReport, describe_reading
from napari_melanoma.io.results import read_slide_result
from napari_melanoma.slides.lesion_files import read_lesions
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion
from napari_melanoma.slides.result_folder import record_slide, recorded_slide

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
    write_json(folder / SYNOPTIC_FILE, report.model_dump(mode="json"))


def describe_lesions(lesions: Sequence[SlideLesion], threshold: float) -> dict[str, str]:
    """Describe the lesions of a slide, and the threshold at which they were detected, as values of a signed report."""
    malignant = sum(lesion.label == "malignant" for lesion in lesions)
    areas = [lesion.area_mm2 for lesion in lesions if lesion.area_mm2 is not None]
    area = f", {sum(areas):.3g} mm² in total" if areas else ""
    return {
        "lesions on the slide": f"{len(lesions)}, {malignant} malignant{area}",
        "threshold of the lesions": f"{threshold:.2f}",
    }


def list_changes_since_signature(folder: Path, report: SynopticReport, depth: SlideDepthReadings) -> tuple[str, ...]:
    """State what has changed in the results of a slide since its report was signed; empty if it is not signed."""
    if not report.is_signed:
        return ()
    values = describe_reading(depth.reading_by(report.signed_by))
    with suppress(InputError, ConfigError):  # unreadable lesions are reported elsewhere
        lesions = read_lesions(folder)
        if lesions is not None:
            options = read_slide_result(folder).get("options") or {}
            config = LesionConfig.parse(dict(options.get("lesions") or {}), "result.json")
            values |= describe_lesions(lesions, config.high)
    return report.list_changes_since_signature(values)


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


def store_synoptic(folder: Path, slide: Path, report: SynopticReport, known: tuple[int, int] | None) -> StoredSynoptic:
    """Save a report in the result folder of a slide, atomically; a file changed by another program is backed up first.

    ``known``: stamp of the file when it was last read or saved. Returns the report with the new stamp, and a note on
    the backup.
    """
    path = folder / SYNOPTIC_FILE
    if recorded_slide(folder) is None:
        record_slide(folder, slide, record_name=True)
    notes = back_up_if_changed(path, known)
    save_synoptic(folder, report)
    return StoredSynoptic(report, notes, file_stamp(path))
