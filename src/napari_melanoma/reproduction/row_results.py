"""Results of the rows of a reproduction, in the lines of the paper's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.parsing import read_json
from napari_melanoma.data.sources import guess_source
from napari_melanoma.io.results import read_table
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.zoo import list_architectures
from napari_melanoma.reproduction.papers import Paper, PaperTable, Row
from napari_melanoma.reproduction.plan import ReproductionContext
from napari_melanoma.reproduction.predictions import FOLDS
from napari_melanoma.reproduction.split import UNTOUCHED
from napari_melanoma.training.recipe import TrainRecipe

PARTS = {FOLDS: "cross-validated", UNTOUCHED: "untouched test set"}
FROZEN = "freeze_encoder"
WORDS = {"channels": "first channels", "decoder_channels": "channels of the decoder"}


@dataclass(frozen=True)
class RowResult:
    """Results of a row: those of each image, threshold and parameters, and reductions relative to the paper."""

    row: Row
    threshold: float
    images: list[dict[str, str]]
    parameters: int | None
    reduced: tuple[str, ...]

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """Metric to its mean, 0 to 1, with a 95 % interval over patients or lesions."""
        return self.row.kind.estimates(self.images) if self.images else {}

    @property
    def remark(self) -> str:
        """Warning of unreliable results, such as of a model that finds nothing; else empty."""
        return self.row.kind.remark(self.images, bool(self.parameters)) if self.images else ""


@dataclass(frozen=True)
class TableLine:
    """A line of a table: a row on data sets of the paper, on ours, or on both if they are the same."""

    result: RowResult
    sets: tuple[str, ...]
    domains: tuple[str, ...]
    part: str = ""

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names of the data sets and their part."""
        part = PARTS.get(self.part, "")
        return tuple(f"{domain}, {part}" if part else domain for domain in self.domains)


def read_row_results(work: ReproductionContext) -> list[RowResult]:
    """Read the results of the rows that were evaluated so far, in the paper's order."""
    found = []
    for planned in work.plan.rows:
        place, row = work.folder.row(planned.name), work.paper.rows[planned.name]
        if not place.judgement.is_file():
            continue
        maker = work.paper.rows[row.file.model_of or row.name]
        threshold = float(read_json(place.judgement)["threshold"])
        parameters = work.plan.by_name[maker.name].parameters
        found.append(
            RowResult(row, threshold, read_table(place.per_image), parameters, describe_reductions(work, maker))
        )
    return found


def has_size(work: ReproductionContext, found: RowResult) -> bool:
    """Return whether a row is shown in the figure against size: rows that train a network, of tables shown there."""
    table = work.paper.file.tables.get(found.row.file.table or "")
    return bool(found.parameters and not found.row.file.model_of and (table is None or table.drawn))


def results_by_table(paper: Paper, found: Sequence[RowResult]) -> list[tuple[str, PaperTable, list[RowResult]]]:
    """Group rows by the tables of the paper, and those of grids into one table: name, table and rows."""
    tables = paper.file.tables
    parts = [(name, table, [item for item in found if item.row.file.table == name]) for name, table in tables.items()]
    grids = PaperTable(title="Grids", metrics=next(iter(tables.values())).metrics)
    parts.append(("grids", grids, [item for item in found if item.row.grid]))
    return [part for part in parts if part[2]]


def table_lines(found: Sequence[RowResult]) -> Iterator[TableLine]:
    """Yield the lines of tables, with our data sets next to those of the paper.

    One line for each common data set, and one for all others together. For a row with several test roles: one for each
    role, and one for all. For a row with images outside of the folds: one for those of the folds, and one for these,
    with the results of the paper.
    """
    for item in found:
        if item.row.file.judged_also:
            yield from _lines_by_role(item)
            continue
        if any(image.get("part") == UNTOUCHED for image in item.images):
            yield from _lines_by_part(item)
            continue
        ours = sorted({image["domain"] for image in item.images})
        same = {name: d for name in item.row.file.paper for d in ours if name and guess_source(d) == guess_source(name)}
        for name, domain in same.items():
            yield _make_line(item, (name,), (domain,))
        others = tuple(domain for domain in ours if domain not in same.values())
        sets = tuple(name for name in item.row.file.paper if name not in same)
        if others or sets:
            yield _make_line(item, sets, others)


def _lines_by_role(found: RowResult) -> Iterator[TableLine]:
    """Yield a line with the paper's results, one for each role, and one for all images."""
    if sets := tuple(found.row.file.paper):
        yield _make_line(found, sets, ())
    roles = found.row.file.judges
    for role in roles:
        domains = {image["domain"] for image in found.images if image["role"] == role}
        yield _make_line(found, (), tuple(sorted(domains)))
    yield _make_line(found, (), tuple(sorted({image["domain"] for image in found.images})))


def _lines_by_part(found: RowResult) -> Iterator[TableLine]:
    """Yield a line for the images of the folds, and one for the untouched images, with the paper's results."""
    domains = tuple(sorted({image["domain"] for image in found.images}))
    for part, sets in ((FOLDS, ()), (UNTOUCHED, tuple(found.row.file.paper))):
        yield TableLine(replace(found, images=images_in_part(found.images, part)), sets, domains, part)


def images_in_part(images: Sequence[dict[str, str]], part: str) -> list[dict[str, str]]:
    """Return the images of a part."""
    return [image for image in images if not part or image.get("part", "") == part]


def parts_of(found: RowResult) -> tuple[str, ...]:
    """Return the parts of the images of a row; "" if there are no untouched images."""
    apart = any(image.get("part") == UNTOUCHED for image in found.images)
    return (FOLDS, UNTOUCHED) if apart else ("",)


def _make_line(found: RowResult, sets: tuple[str, ...], domains: tuple[str, ...]) -> TableLine:
    """Create the line for some of our data sets."""
    images = [image for image in found.images if image["domain"] in domains]
    return TableLine(replace(found, images=images), sets, domains)


def describe_reductions(work: ReproductionContext, row: Row) -> tuple[str, ...]:
    """Describe the reductions of a row relative to the paper, such as ``"128 px instead of 512"``."""
    path = work.folder.row(row.name).recipe
    return tuple(_reductions(work, row, read_toml(path, TrainRecipe))) if path.is_file() else ()


def _reductions(work: ReproductionContext, row: Row, ran: TrainRecipe) -> Iterator[str]:
    """Yield each reduction."""
    whole, weights = row.values["full"], work.paper.file.weights
    model: Mapping[str, Any] = whole.get("model", {})
    if ran.model.input_size < model.get("input_size", ran.model.input_size):
        yield f"{ran.model.input_size} px instead of {model['input_size']}"
    if ran.epochs < whole.get("epochs", ran.epochs):
        yield f"{ran.epochs} epoch{'' if ran.epochs == 1 else 's'} instead of up to {whole['epochs']}"
    fields = list_architectures()[ran.model.architecture].spec.config.model_fields
    for name, now in ran.model.options.items():
        before = model.get("options", {}).get(name, fields[name].default)
        if before != now:
            yield f"{WORDS.get(name, name)} {_format_option(now)} instead of {_format_option(before)}"
    for name in ("optimiser", "schedule", "learning_rate", "weight_decay"):
        if (now := getattr(ran, name)) != (before := whole.get(name, now)):
            yield f"{name.replace('_', ' ')} {_format_option(now)} instead of {_format_option(before)}"
    if ran.batch_size != whole.get("batch_size", ran.batch_size):
        yield f"{ran.batch_size} images per step instead of {whole['batch_size']}"
    start = model.get("start", "none")
    if start in weights and ran.model.start == "none":
        yield f"random initialization instead of {weights[start].title.rpartition(', ')[2]}"
    elif start in weights and ran.model.start not in (start, "imagenet"):
        yield f"start from the model '{ran.model.start}' instead of {weights[start].title.rpartition(', ')[2]}"
    if ran.classification and ran.classification.freeze_encoder and not whole.get("classification", {}).get(FROZEN):
        yield "frozen encoder"
    if ran.classification and ran.classification.stages > whole.get("classification", {}).get("stages", 1):
        yield "image branch trained before the head"
    if ran.augmentation.flip and not whole.get("augmentation", {}).get("flip", True):
        yield "images flipped"
    trained_on = work.data.get(row.file.learn or "") if not row.kind.crossed else None
    if trained_on and trained_on.left_out:
        yield f"{trained_on.learn} images of {trained_on.learn + trained_on.left_out}"


def _format_option(value: object) -> str:
    """Format an option of a network."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)
