"""Many photographs, from files to result folders and one table: what is done is skipped, a bad file stops nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import DiskFull, InputError
from napari_melanoma.core.ownership import output
from napari_melanoma.core.runs import Milestone, Progress, RunContext
from napari_melanoma.io.photographs import find_photographs
from napari_melanoma.workflows.answer import ClassifyOptions
from napari_melanoma.workflows.batch import (
    COLUMNS,
    Batch,
    BatchModel,
    Outcome,
    Portions,
    explain,
    failed_row,
    stored_row,
)
from napari_melanoma.workflows.classified import Classifying
from napari_melanoma.workflows.forms import Forms
from napari_melanoma.workflows.lesion import LesionOptions
from napari_melanoma.workflows.loaded import loading
from napari_melanoma.workflows.result_folders import Folders, Place, Settings, is_written_by_us
from napari_melanoma.workflows.result_table import ResultTable

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

TABLE = "results.csv"
CORRECTED = "corrected by hand, kept"
NAMED = 5  # in a warning


class BatchOptions(Config):
    """How many photographs are analysed."""

    lesion: LesionOptions = LesionOptions()
    classify: ClassifyOptions | None = Field(None, description="what the lesion may be; none: nobody is asked")
    form: dict[str, str] = Field(default_factory=dict, description="what is known of every patient, by column")
    metadata: Path | None = Field(None, description="table with what is known of each photograph's patient")
    pixel_size_um: float | None = Field(None, gt=0, description="of every photograph; none: what each file states")
    batch_size: int = Field(8, ge=1, le=512, description="photographs in one pass of the network")
    workers: int = Field(0, ge=0, le=256, description="threads that read and write; 0: two more than cores")
    force: bool = Field(False, description="make results again that are there; not those corrected by hand")


@dataclass(frozen=True)
class BatchSummary:
    """How many photographs were analysed, were there before, failed, show no lesion or are odd; where the table is."""

    done: int
    skipped: int
    failed: int
    without_lesion: int
    table: Path
    seconds: float
    with_warning: int = 0


def _ignore(outcome: Outcome) -> None:
    """Take an outcome and do nothing with it."""


def find_inputs(named: Iterable[str | Path]) -> list[Path]:
    """List the photographs that a user named, without the masks and results that this program wrote beside them.

    Each file once, in natural order.
    """
    found = find_photographs(named)
    paths = [path for path in found if not is_written_by_us(path)]
    if not paths:
        raise InputError(
            f"only masks and results that this program wrote were named, such as {found[0]}. Name photographs."
        )
    return paths


def analyse_files(
    paths: Sequence[Path],
    out: Path,
    options: BatchOptions,
    *,
    run: RunContext,
    segmenter: BatchModel | None = None,
    tell: Callable[[Outcome], None] = _ignore,
) -> BatchSummary:
    """Analyse photographs into result folders and one table; what is done already is not done again."""
    from napari_melanoma.analysis.measurements import MEASUREMENT_COLUMNS

    started = time.monotonic()
    info = segmenter.info if segmenter else _find(options.lesion.model)
    named = options.lesion.model_copy(update={"model": info.name})  # the name, where the user gave a path
    options = options.model_copy(update={"lesion": named})
    classifying = _classifying(options, paths, run)
    asked, renamed = (classifying.columns, classifying.renamed) if classifying else ((), {})
    counts = _Counts(len(paths), run, tell)
    with output(out), ExitStack() as last:
        table = ResultTable(out / TABLE, (*COLUMNS, *asked, *MEASUREMENT_COLUMNS), renamed)
        last.callback(table.write)
        work = _to_do(paths, Folders(out, [TABLE]), _settings(options, info, classifying), table, counts)
        for first in work:  # the model is loaded only where something is left to do
            model = segmenter or _load(info, run)
            portions = Portions(options.batch_size, options.workers, options.pixel_size_um, classifying)
            for outcome in Batch(model, options.lesion, portions, table, run).outcomes(chain([first], work)):
                counts.add(outcome)
                table.write_now_and_then()
    return counts.summary(table.path, time.monotonic() - started)


def _tell_lacking(forms: Forms, paths: Sequence[Path], run: RunContext) -> None:
    """Say whose patients the table says nothing of: a wrong column of names would else go unseen."""
    for about, said in forms.unrecognized:
        run.report(Milestone(0, len(paths), f"Warning: column '{about}' of the table: {said}."))
    lacking = forms.lacking(path.stem for path in paths)
    if lacking:
        some = ", ".join(lacking[:NAMED]) + (" ..." if len(lacking) > NAMED else "")
        said = f"Warning: the table says nothing of {len(lacking)} of {len(paths)} photographs ({some}). Its column "
        run.report(Milestone(0, len(paths), f"{said}image_id holds each one's file name without suffix."))


class _Counts:
    """Counts outcomes and reports them."""

    def __init__(self, total: int, run: RunContext, tell: Callable[[Outcome], None]) -> None:
        self.run = run
        self._total = total
        self._tell = tell
        self._by: Counter[str] = Counter()
        self._without_lesion = self._with_warning = 0

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self._by[outcome.status] += 1
        self._without_lesion += outcome.without_lesion
        self._with_warning += bool(outcome.warning)
        self._tell(outcome)
        self.run.report(Progress(self._by.total(), self._total, outcome.image))

    def summary(self, table: Path, seconds: float) -> BatchSummary:
        """Sum up."""
        by = self._by
        counts = (by["done"], by["skipped"], by["failed"], self._without_lesion)
        return BatchSummary(*counts, table, seconds, self._with_warning)


def _to_do(
    paths: Sequence[Path], folders: Folders, settings: Settings | None, table: ResultTable, counts: _Counts
) -> Iterator[Place]:
    """Give each photograph its folder; count those that are done, and yield the others."""
    for path in paths:
        counts.run.check()
        try:
            place = folders.place(path)
        except DiskFull:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong is of this photograph; the others go on
            said = explain(error, path, table.path.parent)
            table.put(failed_row(path.stem, path.name, said))
            counts.add(Outcome(path.stem, path, "failed", error=said))
            continue
        if place.corrected or (settings and place.is_done(settings)):
            row = stored_row(place, place.stored or {}, CORRECTED if place.corrected else "")
            table.put(row)
            counts.add(Outcome.of_row(place.folder.name, path, "skipped", row))
        else:
            yield replace(place, stored=None)


def _classifying(options: BatchOptions, paths: Sequence[Path], run: RunContext) -> Classifying | None:
    """Find the classifier that is to be asked, without loading it; None where nobody asks."""
    if options.classify is None:
        return None
    from napari_melanoma.models.registry import find_classifier

    forms = Forms(options.form, options.metadata)
    _tell_lacking(forms, paths, run)
    return Classifying(find_classifier(options.classify.model), options.classify, forms)


def _settings(options: BatchOptions, info: BundleInfo, classifying: Classifying | None) -> Settings | None:
    """What a result must carry to be taken as done; None where nothing is."""
    if options.force:
        return None
    model = {"name": info.name, "fingerprint": info.fingerprint, "threshold": info.config.threshold}
    return Settings(options.lesion.model_dump(mode="json"), model, options.pixel_size_um, classifying)


def _find(model: str) -> BundleInfo:
    """Find a model without loading it."""
    from napari_melanoma.models.registry import find_bundle, for_photographs

    return for_photographs(find_bundle(model), "segmentation")


def _load(info: BundleInfo, run: RunContext) -> BatchModel:
    """Load a model; torch is imported here, and only here."""
    with loading(run):
        from napari_melanoma.inference.photograph import Segmenter

        return Segmenter.load(info)
