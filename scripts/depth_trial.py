"""Evaluate the measurement of Breslow thickness on phantom slides of known thickness.

    python scripts/depth_trial.py OUT
    python scripts/depth_trial.py OUT --fit

Draws slides of unseen looks (``OUT/slides/test-*``) and slides of the training looks with other seeds
(``calibration-*``), analyzes each as a user would (``OUT/results``), and writes ``depth.csv``, ``summary.json`` and
``figures/``. An interrupted call is resumed. The truth is the thickness as drawn, including oblique sections. ``--fit``
fits the interval model to the calibration slides only, writes it to ``OUT/law.json`` and uses it; ``--again`` measures
slides again whose tiles are finished. ``depth_cnn.py`` then evaluates networks that predict a depth from patches on the
same slides.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from depth_report import fitted, report, with_law
from depth_slides import Spread, depth_config, hard_parts

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.files import write_json
from napari_melanoma.depth.breslow_candidates import interval_models_to_json
from napari_melanoma.io.results import RESULT, read_slide_result, write_table
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.phantoms.slide.render import write_slide

if TYPE_CHECKING:
    from napari_melanoma.slides.tile_models import TileModel

FIRST_SEED = {"test": 700_000, "calibration": 800_000}  # training slides have seeds below 100,000
FAMILY = {"test": "test", "calibration": "train"}
SPREAD = Spread(width_mm=(2.4, 0.75))


@dataclass(frozen=True)
class Job:
    """One slide of the trial, and the model for its analysis; without a model it is only drawn."""

    out: Path
    part: str
    number: int
    model: str = ""
    again: bool = False

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.part}-{self.number:03}"

    @property
    def slide(self) -> Path:
        """The slide's file."""
        return self.out / "slides" / f"{self.name}.tif"

    @property
    def folder(self) -> Path:
        """Folder of its results."""
        return self.out / "results" / self.name


def main() -> int:
    """Draw, analyze and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=200, help="number of the last slide of unseen looks, plus one")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them, to use other slides")
    parser.add_argument("--calibration", type=int, default=120, help="slides to fit intervals to")
    parser.add_argument("--model", default="skin-demo", help="a bundle; '' only draws the slides")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--fit", action="store_true", help="fit the interval model again")
    parser.add_argument("--again", action="store_true", help="measure again without running the network")
    arguments = parser.parse_args()
    counts = {"test": arguments.count, "calibration": arguments.calibration}
    jobs = [
        Job(arguments.out, part, number, arguments.model, arguments.again)
        for part, count in counts.items()
        for number in range(arguments.first if part == "test" else 0, count)
    ]
    jobs.sort(key=lambda job: job.number / counts[job.part])
    rows = list(spread_out(done, jobs, arguments.processes))
    if not arguments.model:
        return 0
    rows.sort(key=lambda row: row["slide"])
    if arguments.fit:
        law = fitted(rows, arguments.model)
        weights = find_bundle(arguments.model).fingerprint
        (arguments.out / "law.json").write_text(interval_models_to_json({weights: law}), encoding="utf-8")
        rows = with_law(rows, law)
    write_table(arguments.out / "depth.csv", rows)
    sys.stdout.write(report(rows, arguments.out))
    return 0


def spread_out(work: Callable[[Job], dict[str, Any]], jobs: Iterable[Job], processes: int) -> Iterator[dict[str, Any]]:
    """Run all jobs in separate processes, as on Windows, and report the progress."""
    if processes == 1:
        yield from (_report_progress(work(job)) for job in jobs)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(work, job) for job in jobs]):
            yield _report_progress(future.result())


def _report_progress(row: dict[str, Any]) -> dict[str, Any]:
    sys.stderr.write(f"{row['slide']}: {row.get('mm') or row.get('why') or 'drawn'} (true {row['true_mm']})\n")
    sys.stderr.flush()
    return row


def done(job: Job) -> dict[str, Any]:
    """Draw a slide and measure it, unless that is finished; return its row of the table."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config = depth_config("train" if job.part == "calibration" else "test", FIRST_SEED[job.part] + job.number, SPREAD)
    if not job.slide.is_file():
        write_slide(config, job.slide.parent, job.name)
    truth = json.loads(job.slide.with_suffix(".truth.json").read_text(encoding="utf-8"))
    row = {"slide": job.name, "part": job.part, "look": truth["look"], "true_mm": truth["breslow_mm"]}
    row |= {"true_ulceration": truth["ulceration"], **hard_parts(config)}
    if not job.model:
        return row
    try:
        content = _analysed(job)
    except MelanomaError as error:
        return row | measured({}) | {"why": str(error)}
    return row | measured(content)


def _analysed(job: Job) -> dict[str, Any]:
    """Analyze a slide; return the content of ``result.json``."""
    from napari_melanoma.slides.analysis import analyze_slide
    from napari_melanoma.slides.options import SlideOptions

    if job.again and (job.folder / RESULT).is_file():
        return _measured_again(job)
    options = SlideOptions(model=job.model, batch_size=16, workers=1)
    return analyze_slide(job.slide, job.folder, options, RunContext(), load=lambda: _model(job.model)).content


def _measured_again(job: Job) -> dict[str, Any]:
    """Measure on the stored map of the network."""
    from napari_melanoma.core.validity import read_slide_validity
    from napari_melanoma.io.slide_store import SlideResult
    from napari_melanoma.slides.depth import DepthMap, measure_slide_depth
    from napari_melanoma.slides.maps import SlideMaps
    from napari_melanoma.slides.saved_results import read_lesion_maps

    content, result = read_slide_result(job.folder), SlideResult.open(job.folder)
    values, classes = result.array("map"), result.spec.classes
    placement = read_lesion_maps(job.folder, content["target"]).placement
    small = SlideMaps(np.asarray(values[:], np.float32) / np.float32(255), placement)
    found = DepthMap.from_store(values, small, classes, content["model"]["fingerprint"])
    content |= measure_slide_depth(found, (), RunContext(), read_slide_validity(content))
    write_json(job.folder / RESULT, content)
    return content


@cache
def _model(name: str) -> TileModel:
    """Load a model once per process."""
    from napari_melanoma.slides.analysis import load_model
    from napari_melanoma.slides.options import SlideOptions

    return load_model(SlideOptions(model=name, batch_size=16, workers=1))


def measured(content: dict[str, Any]) -> dict[str, Any]:
    """Extract the columns of the table from a result."""
    depth = content.get("depth") or {}
    best: dict[str, Any] = next(iter(depth.get("candidates") or []), {})
    low, high = content.get("breslow_interval_mm") or (None, None)
    return {
        "mm": content.get("breslow_mm"),
        "low_mm": low,
        "high_mm": high,
        "t_category": content.get("t_category"),
        "ulcerated": best.get("ulcerated"),
        "at_least": best.get("at_least"),
        "certain_mm": best.get("certain_mm"),
        "possible_mm": best.get("possible_mm"),
        "seconds": round(content.get("seconds", 0.0), 1),
        "why": "" if content.get("breslow_mm") else "; ".join(depth.get("notes") or ["not measured"]),
    }


if __name__ == "__main__":
    sys.exit(main())
