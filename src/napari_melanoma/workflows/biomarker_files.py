"""The folder of biomarkers: tables, a file for machines, and pictures of what excites each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.statistics import INTERVAL
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import provenance
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.report.biomarker_figures import GalleryRow, Shown, draw_gallery, overlaid
from napari_melanoma.report.class_figures import draw_bars
from napari_melanoma.workflows.biomarkers import (
    MEASURES,
    BiomarkerOptions,
    Biomarkers,
    Found,
    activation,
    picture_of,
)

if TYPE_CHECKING:
    from napari_melanoma.analysis.biomarkers import Biomarker
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.inference.classification import Classifier

COLUMNS = ("rank", "name", "feature", "auc", "auc_low", "auc_high", "rank_biserial", "p", "q", "higher_in")
EXCITING = ("rank", "name", "feature", "image_id", "domain", "value", "row", "column", "picture")
SIDE = 224  # pixels of a picture in the gallery
NOTE = (
    "AUC of the patients' means, with the interval that the feature would have if it alone had been looked at; q is "
    "Benjamini and Hochberg's, over all features. Features were ranked on these very pictures: measure them on others "
    "before you rely on one."
)


def write_biomarkers(
    out: Path, found: Biomarkers, classifier: Classifier, options: BiomarkerOptions, run: RunContext
) -> None:
    """Write what was found."""
    positive = classifier.config.positive
    rows = [_row(one.name, one.marker, positive) | {"rank": rank} for rank, one in enumerate(found.features, start=1)]
    write_table(out / "biomarkers.csv", rows, COLUMNS)
    measured = [_row(name, marker, positive) for name, marker in found.measures.items()]
    write_table(out / "measures.csv", list(_measures(found)), ("image_id", "domain", "label", *MEASURES))
    write_table(out / "exciting.csv", list(_exciting(found)), EXCITING)
    about: dict[str, Any] = {"features": rows, "not_measured": found.not_measured}
    about |= {"measures": [{**row, "about": MEASURES[str(row["name"])]} for row in measured]}
    write_json(out / "biomarkers.json", about | _about(found, classifier, options))
    _draw(out / "figures", found, classifier, run)


def _row(name: str, marker: Biomarker, positive: str) -> dict[str, object]:
    """What is known of a feature or a measure."""
    auc = marker.auc
    known = {"name": name, "feature": marker.place, "auc": auc.mean, "auc_low": auc.low, "auc_high": auc.high}
    higher = positive if auc.mean >= 0.5 else "others"
    return {**known, "rank_biserial": marker.strength, "p": marker.p, "q": marker.q, "higher_in": higher}


def _measures(found: Biomarkers) -> Iterator[dict[str, object]]:
    """Rows of ``measures.csv``."""
    judged = found.judged
    for sample, label, values in zip(judged.samples, judged.labels, found.table, strict=True):
        cells = {name: "" if np.isnan(value) else float(value) for name, value in zip(MEASURES, values, strict=True)}
        yield {"image_id": sample.image_id, "domain": sample.domain, "label": judged.classes[label], **cells}


def _exciting(found: Biomarkers) -> Iterator[dict[str, object]]:
    """Rows of ``exciting.csv``."""
    for rank, one in enumerate(found.features, start=1):
        for number, excited in enumerate(one.excited, start=1):
            row, column = excited.place
            known = {"rank": rank, "name": one.name, "feature": one.marker.place, "value": excited.value}
            known |= {"image_id": excited.sample.image_id, "domain": excited.sample.domain}
            yield {**known, "row": row, "column": column, "picture": f"figures/{_file(rank, number)}"}


def _file(rank: int, number: int) -> str:
    """Name of the picture of a feature's map."""
    return f"biomarker_{rank:02}_{number}.png"


def _about(found: Biomarkers, classifier: Classifier, options: BiomarkerOptions) -> dict[str, Any]:
    """What the figures rest on."""
    judged = found.judged
    positive = judged.labels == judged.classes.index(classifier.config.positive)
    return {
        "model": {"name": classifier.info.name, "fingerprint": classifier.info.fingerprint},
        "statistic": "AUC (Mann-Whitney) of patients",
        "positive": classifier.config.positive,
        "images": len(judged.samples),
        "positives": int(positive.sum()),
        "features_looked_at": found.features_looked_at,
        "options": options.model_dump(mode="json"),
        "interval": INTERVAL,
        "note": NOTE,
        "provenance": provenance(),
    }


def _draw(folder: Path, found: Biomarkers, classifier: Classifier, run: RunContext) -> None:
    """The gallery, each of its maps by itself, and the ranking."""
    rows = []
    for rank, one in enumerate(run.track(found.features, "Drawing"), start=1):
        shown = _shown(one, classifier)
        for number, each in enumerate(shown, start=1):
            write_rgb(folder / _file(rank, number), overlaid(each))
        rows.append(GalleryRow(f"{rank}. {one.name}: AUC {one.marker.auc}, q {one.marker.q:.2g}", shown))
    if rows:
        draw_gallery(rows, folder / "gallery.png")
    bars = {f"{one.name}": one.marker.auc for one in found.features}
    bars |= {name: marker.auc for name, marker in found.measures.items()}
    if bars:
        draw_bars(bars, "AUC of patients, 95 % interval", folder / "ranking.png", middle=0.5)


def _shown(one: Found, classifier: Classifier) -> list[Shown]:
    """The pictures that excite a feature, made small."""
    from PIL import Image

    found = []
    for excited in one.excited:
        rgb, mask = picture_of(classifier, excited.sample)
        heat = activation(classifier, rgb, mask, one.marker.place)
        size = (SIDE, max(1, round(SIDE * rgb.shape[0] / rgb.shape[1])))
        small = np.asarray(Image.fromarray(rgb).resize(size))
        coarse = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size), np.float32)
        found.append(Shown(small, coarse, excited.sample.image_id))
    return found
