"""Readings and the synoptic report of a slide, written and read one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_melanoma.core.files import write_json
from napari_melanoma.depth.findings import FINDINGS_FILE, SlideFindings, read_findings, write_findings
from napari_melanoma.depth.readings import SlideDepthReadings
from napari_melanoma.depth.synoptic import SynopticReport


def write_depth(folder: Path, depth: SlideDepthReadings) -> None:
    """Write the readings of a slide; its report stays."""
    values = {name: getattr(depth, name) for name in SlideDepthReadings.model_fields}
    write_findings(folder, SlideFindings(**values, report=read_findings(folder).report))


def save_synoptic(folder: Path, report: SynopticReport | None) -> None:
    """Write the report of a slide; its readings stay."""
    write_findings(folder, read_findings(folder).with_report(report))


def load_synoptic(folder: Path) -> SynopticReport | None:
    """Read the report of a slide."""
    return read_findings(folder).report


def read_stored_report(folder: Path) -> dict[str, Any]:
    """Return the report of a slide as JSON."""
    return dict(json.loads((folder / FINDINGS_FILE).read_text(encoding="utf-8"))["report"])


def write_stored_report(folder: Path, report: dict[str, Any]) -> None:
    """Replace the report of a slide by JSON, as another program might."""
    content = json.loads((folder / FINDINGS_FILE).read_text(encoding="utf-8"))
    write_json(folder / FINDINGS_FILE, content | {"report": report})
