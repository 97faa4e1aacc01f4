"""The file ``synoptic.json`` in the result folder of a slide, and the synoptic report as JSON and CSV for others."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import write_json
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
