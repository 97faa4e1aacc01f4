"""Where a network's risk would mean nothing: cells that it never saw empty, values that cannot be, strange patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from napari_melanoma.core.depth import DEPTH
from napari_melanoma.core.errors import InputError
from napari_melanoma.data.features.encoding import understand
from napari_melanoma.data.features.reading import number_of
from napari_melanoma.data.table_schema import column_named

if TYPE_CHECKING:
    from napari_melanoma.core.tabular import FittedNumbers, FittedWords, TabularEncoding
    from napari_melanoma.inference.classification import Classifier
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.workflows.risk_answer import Beside, DepthUsed

SELDOM = 0.05  # share of training cases without a value up to which a network does not know what that means
FAR = 5.0  # standard deviations of the training cases: beyond them a network guesses
UM = 1000.0  # in a millimetre


class GapsUnknown(InputError):  # noqa: N818 - a state, as its siblings
    """A network was to answer with cells empty that it has never seen empty; what can be said without it is there."""

    def __init__(self, said: str, depth: DepthUsed, beside: dict[str, Beside]) -> None:
        super().__init__(said)
        self.depth, self.beside = depth, beside


def lacking(row: Mapping[str, object], encoding: TabularEncoding) -> tuple[str, ...]:
    """Name the columns that a network asks for and a row does not know.

    In its order.
    """
    there = understand([row], encoding).known[0]
    return tuple(name for name, is_known in zip(encoding.fields, there, strict=True) if not is_known)


def never_empty(config: BundleConfig) -> dict[str, float]:
    """Find the columns whose empty cell means nothing to a network.

    Column to the share of the training cases in which it was empty; none where cells were emptied while learning
    (``drop_form`` or ``drop_field``), or where nothing says how it was learnt.
    """
    recipe = config.provenance.get("recipe")
    asked = recipe.get("classification") if isinstance(recipe, dict) else None
    encoding = config.tabular
    if not isinstance(asked, dict) or encoding is None or asked.get("drop_form", 1) or asked.get("drop_field", 1):
        return {}
    columns: tuple[FittedNumbers | FittedWords, ...] = (*encoding.numbers, *encoding.words)
    empty = {one.name: 1 - one.known / encoding.rows if encoding.rows else 0.0 for one in columns}
    return {name: share for name, share in empty.items() if share < SELDOM}


def refusal(name: str, gaps: Mapping[str, float], row: Mapping[str, object], beside: Mapping[str, Beside]) -> str:
    """Say why a network gives no answer.

    Which cells, what they were in the training, what can be said without them, and what to do.
    """
    seen = max(gaps.values())
    learnt = "no case lacked one" if not seen else f"at most {100 * seen:.1f} % of the cases lacked one"
    told = [f"{one.title} {one.probability:.2f}" for one in beside.values() if one.probability is not None]
    there = f" What can be said without: {', '.join(told)}." if told else ""
    cells = {one: str(row.get(one) or "").strip() for one in gaps}
    named = ", ".join(f"{one} ('{cell}' is not understood)" if cell else one for one, cell in cells.items())
    return (
        f"no answer, as {named} {'is' if len(gaps) == 1 else 'are'} empty: '{name}' has not learnt what an "
        f"empty cell means (in its training {learnt}, drop_form = 0), and what it says then is chance.{there} Fill "
        "them in, or take a model that has learnt with drop_form above 0, as the recipe risk-small does."
    )


def check_possible(form: Mapping[str, str]) -> None:
    """Refuse a thickness that cannot be: it decides too much to be passed over."""
    column, cell = column_named(DEPTH), (form.get(DEPTH) or "").strip()
    assert column is not None
    assert column.low is not None
    assert column.high is not None
    mm = number_of(cell)
    if not cell or column.low <= mm <= column.high:
        return
    hint = f" {cell} µm would be {mm / UM:g} mm: write that, or '{cell} um'." if mm > column.high else ""
    raise InputError(
        f"{DEPTH} is '{cell}', expected a thickness of {column.low:g} to {column.high:g} mm.{hint} Correct it, or "
        "leave it empty."
    )


def far_off(row: Mapping[str, object], encoding: TabularEncoding) -> list[str]:
    """Say which numbers lie far from all that a network has learnt from."""
    return [said for one in encoding.numbers if (said := _far(number_of(row.get(one.name)), one))]


def strangers(model: Classifier, far: Sequence[float | None]) -> list[bool]:
    """Say which patches look like nothing that a network has learnt from.

    None of them where the bundle remembers no training cases.
    """
    limit = model.judge.config.unlike
    return [distance is not None and limit is not None and distance > limit for distance in far]


def _far(value: float, column: FittedNumbers) -> str:
    """What is to be said of a number that no training case was near."""
    if not column.std or not abs(value - column.mean) > FAR * column.std:
        return ""
    return (
        f"{column.name} {value:g}: far from all that the model has learnt from (mean {column.mean:.3g}, standard "
        f"deviation {column.std:.2g})"
    )
