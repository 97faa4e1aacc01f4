"""What the rows of a reproduction found, beside the paper's figures."""

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


@dataclass(frozen=True)
class RowResult:
    """How a row did: what each image gave; of its model threshold, parameters, and what is less than in the paper."""

    row: Row
    threshold: float
    images: list[dict[str, str]]
    parameters: int | None
    reduced: tuple[str, ...]

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """Metric to its mean, 0 to 1, with a 95 % interval over patients or lesions; none where there is no image."""
        return self.row.kind.estimates(self.images) if self.images else {}

    @property
    def remark(self) -> str:
        """Where its figures are none to trust: a model that finds nothing has learnt nothing; else empty."""
        return self.row.kind.remark(self.images, bool(self.parameters)) if self.images else ""


@dataclass(frozen=True)
class TableLine:
    """A line of a table: a row on one of the paper's sets, on ours, or on both where they are the same."""

    result: RowResult
    sets: tuple[str, ...]
    domains: tuple[str, ...]
    part: str = ""

    @property
    def set_names(self) -> tuple[str, ...]:
        """The data sets, with the part of them that it is."""
        said = PARTS.get(self.part, "")
        return tuple(f"{domain}, {said}" if said else domain for domain in self.domains)


def read_row_results(work: ReproductionContext) -> list[RowResult]:
    """Read what the rows found so far.

    Returns rows that were judged, in the paper's order.
    """
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
    """Say whether a row is one to set against its size: once for a network that learns, where its table is drawn.

    False for a row that takes another one's model.
    """
    table = work.paper.file.tables.get(found.row.file.table or "")
    return bool(found.parameters and not found.row.file.model_of and (table is None or table.drawn))


def results_by_table(paper: Paper, found: Sequence[RowResult]) -> list[tuple[str, PaperTable, list[RowResult]]]:
    """Put rows into the tables of the paper, and those of its grids into one of their own.

    Name of each table that has rows, the table, and its rows.
    """
    tables = paper.file.tables
    parts = [(name, table, [item for item in found if item.row.file.table == name]) for name, table in tables.items()]
    grids = PaperTable(title="Grids", metrics=next(iter(tables.values())).metrics)
    parts.append(("grids", grids, [item for item in found if item.row.grid]))
    return [part for part in parts if part[2]]


def table_lines(found: Sequence[RowResult]) -> Iterator[TableLine]:
    """Put our data sets beside the paper's.

    One for each set that both have; and one for our other sets together, beside the paper's other ones. Of a row that
    several roles judge: one for each role, and one for all together. Of a row of which images were kept apart: one for
    those of the folds, and one for these, beside the paper's figures.
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
    """Make a line of the paper's figures, one for the images of each role, and one for all of them."""
    if sets := tuple(found.row.file.paper):
        yield _make_line(found, sets, ())
    roles = found.row.file.judges
    for role in roles:
        domains = {image["domain"] for image in found.images if image["role"] == role}
        yield _make_line(found, (), tuple(sorted(domains)))
    yield _make_line(found, (), tuple(sorted({image["domain"] for image in found.images})))


def _lines_by_part(found: RowResult) -> Iterator[TableLine]:
    """Make a line of the images of the folds, and one of those kept apart: the paper's figures are of such ones."""
    domains = tuple(sorted({image["domain"] for image in found.images}))
    for part, sets in ((FOLDS, ()), (UNTOUCHED, tuple(found.row.file.paper))):
        yield TableLine(replace(found, images=images_in_part(found.images, part)), sets, domains, part)


def images_in_part(images: Sequence[dict[str, str]], part: str) -> list[dict[str, str]]:
    """Choose the images of a part.

    In their order.
    """
    return [image for image in images if not part or image.get("part", "") == part]


def parts_of(found: RowResult) -> tuple[str, ...]:
    """Name the parts that a row was judged on by itself.

    Of a row of which no image was kept apart, one that stands for all.
    """
    apart = any(image.get("part") == UNTOUCHED for image in found.images)
    return (FOLDS, UNTOUCHED) if apart else ("",)


def _make_line(found: RowResult, sets: tuple[str, ...], domains: tuple[str, ...]) -> TableLine:
    """Make a line of the images of some of our data sets."""
    images = [image for image in found.images if image["domain"] in domains]
    return TableLine(replace(found, images=images), sets, domains)


FROZEN = "freeze_encoder"
WORDS = {"channels": "first channels", "decoder_channels": "channels of the decoder"}


def describe_reductions(work: ReproductionContext, row: Row) -> tuple[str, ...]:
    """Say in what the row that ran is less than the paper's.

    Parts, such as ``"128 px instead of 512"``; none where nothing is.
    """
    path = work.folder.row(row.name).recipe
    return tuple(_reductions(work, row, read_toml(path, TrainRecipe))) if path.is_file() else ()


def _reductions(work: ReproductionContext, row: Row, ran: TrainRecipe) -> Iterator[str]:
    """Name each part that is less."""
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
        yield f"{ran.batch_size} images a step instead of {whole['batch_size']}"
    start = model.get("start", "none")
    if start in weights and ran.model.start == "none":
        yield f"random initialisation instead of {weights[start].title.rpartition(', ')[2]}"
    elif start in weights and ran.model.start not in (start, "imagenet"):
        yield f"start from the model '{ran.model.start}' instead of {weights[start].title.rpartition(', ')[2]}"
    if ran.classification and ran.classification.freeze_encoder and not whole.get("classification", {}).get(FROZEN):
        yield "the encoder stays as it is"
    if ran.classification and ran.classification.stages > whole.get("classification", {}).get("stages", 1):
        yield "first the image learns, then the head"
    if ran.augmentation.flip and not whole.get("augmentation", {}).get("flip", True):
        yield "images mirrored"
    learnt = work.data.get(row.file.learn or "") if not row.kind.crossed else None
    if learnt and learnt.left_out:
        yield f"{learnt.learn} images of {learnt.learn + learnt.left_out}"


def _format_option(value: object) -> str:
    """Write an option of a network."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)
