"""The file ``synoptic.json`` in the result folder of a slide, and the synoptic report as JSON and CSV for others."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import back_up_if_changed, file_stamp, write_json
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.depth.synoptic import SynopticReport

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
    """Write the synoptic report of a slide, atomically; raises if the present file is damaged."""
    load_synoptic(folder)
    write_json(folder / SYNOPTIC_FILE, report.model_dump(mode="json"))


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


def store_synoptic(
    folder: Path, slide: Path, report: SynopticReport, known: tuple[int, int] | None
) -> StoredSynoptic:
    """Save a report with the results of a slide, atomically; a file changed by another program is backed up first.

    ``known``: stamp of the file when it was last read or written. Returns the report with the new stamp, and a note on
    the backup.
    """
    path = folder / SYNOPTIC_FILE
    if recorded_slide(folder) is None:
        record_slide(folder, slide, record_name=True)
    notes = back_up_if_changed(path, known)
    save_synoptic(folder, report)
    return StoredSynoptic(report, notes, file_stamp(path))
