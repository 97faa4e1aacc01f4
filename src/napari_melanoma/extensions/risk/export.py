"""Export of a risk prediction: a copy of its file."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.io.results import RISK_FILE
from napari_melanoma.reports.export_formats import ExportedSlide, ExportFormat, NothingToExportError


def _write_risk(path: Path, exported: ExportedSlide) -> None:
    """Copy the risk prediction."""
    from napari_melanoma.reports.slide_export import copy_result_file

    if not (exported.folder / RISK_FILE).is_file():
        reason = "no risk was estimated yet. Estimate it in the Slide dock first (command line: napari-melanoma risk)."
        raise NothingToExportError(f"{exported.folder.name}: {reason}")
    copy_result_file(exported.folder / RISK_FILE, path)


RISK = ExportFormat("Risk with its inputs (JSON)", "risk.json", "risk", _write_risk)
