"""The section of a report on the risk of metastasis, and the format of patient data in reports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_melanoma.core.validity import read_risk_validity
from napari_melanoma.data.table_schema import find_column, format_field_value
from napari_melanoma.depth.reading_texts import format_time
from napari_melanoma.depth.t_category import round_measured_thickness
from napari_melanoma.figures.page import Bar, Block, Cell, Figure, Gallery, Notice, Section, Table, Text, fields
from napari_melanoma.reports.disclosure import OLDEST, hide_age, hide_reader

NO_SHARES = "Contributions are not available for this model."
CONTRIBUTIONS = (
    "The contributions add up to the difference between this prediction and {:.2f}, the probability that the model "
    "predicts without any data of this case."
)
NO_MAPS = "No attention and CAM maps were computed."
MAPS = (
    "Attention: the weight of each position, for any prediction. CAM: evidence for metastasis. Brightness is "
    "scaled to the maximum of each map. Where patches overlap, the larger value is shown."
)


@dataclass(frozen=True)
class RiskPictures:
    """Pictures of the patches that a prediction is based on, and a note on them."""

    figures: tuple[Figure, ...] = ()
    note: str = NO_MAPS


def risk_section(
    prediction: Mapping[str, Any],
    cautions: Sequence[str] = (),
    pictures: RiskPictures = RiskPictures(),
    *,
    personal: bool = True,
) -> Section:
    """Return the section on the risk of metastasis; the numbers of an invalid prediction are folded.

    ``prediction``: the content of ``risk.json``. ``cautions``: further warnings.
    """
    validity = read_risk_validity(prediction)
    reasons = validity.cautions if validity.valid else validity.other_reasons
    warnings = [*reasons, *(to_sentence(str(one)) for one in (*cautions, *(prediction.get("warnings") or ())))]
    verdict = to_sentence(validity.headline("") or str(prediction["verdict"]))
    details = tuple(_list_details(prediction, pictures, personal=personal))
    if not validity.valid:
        details = (Section("Show the number anyway", details, folded=True),)
    blocks = (Notice(verdict, lead=validity.valid), *map(Notice, warnings), *details)
    return Section("Risk of metastasis", blocks)


def _list_details(prediction: Mapping[str, Any], pictures: RiskPictures, *, personal: bool) -> Iterator[Block]:
    """Yield the tables of methods, contributions and inputs, and the pictures."""
    probability, interval = float(prediction["probability"]), _parse_interval(prediction.get("interval"))
    kind = "demonstration model " if read_risk_validity(prediction).demonstration else ""
    name = f"Image, depth and patient ({kind}{prediction['model'].get('name', 'the model')})"
    rows: list[tuple[Cell, ...]] = [(name, Bar(_format_value(probability, interval), probability, interval))]
    rows += [_create_method_row(one) for one in (prediction.get("comparators") or {}).values()]
    yield Table("Probability of metastasis by method", ("Method", "Probability"), tuple(rows))
    shares, baseline = prediction.get("shares") or {}, prediction.get("without")
    if shares:
        parts = tuple((part.capitalize(), signed_bar(float(value))) for part, value in shares.items())
        yield Table("Contributions", ("Part", "Change of the probability"), parts, titled=True)
    has_shares = bool(shares) and baseline is not None
    yield Text(CONTRIBUTIONS.format(baseline) if has_shares else NO_SHARES, True)
    yield fields("Inputs of the risk", _list_basis(prediction, personal=personal))
    if pictures.figures:
        yield Gallery(pictures.figures)
    if pictures.note:
        yield Text(pictures.note, True)


def signed_bar(value: float) -> Bar:
    """Return a bar for a contribution between -1 and 1."""
    return Bar(f"{round(value, 2) + 0.0:+.2f}", max(-1.0, min(1.0, value)), signed=True)


def to_sentence(text: str) -> str:
    """Turn a note into a sentence, with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def format_probability(prediction: Mapping[str, Any]) -> str:
    """Format the probability of a prediction with its interval, without a conclusion."""
    value = _format_value(prediction["probability"], prediction.get("interval"))
    return str(prediction.get("number") or f"risk of {prediction.get('positive', 'metastasis')} {value}")


def format_known_data(data: Mapping[str, object], *, personal: bool = True) -> str:
    """Format the known data of a patient and a melanoma, such as ``Age 64 years, Sex male``; a dash if unknown."""
    texts = ((name, format_field_value(name, round_number(name, str(cell)))) for name, cell in data.items())
    shown = ((name, hide_age(name, text, personal=personal)) for name, text in texts)
    return ", ".join(f"{column_title(name)} {cell} {_column_unit(name, cell)}".rstrip() for name, cell in shown) or "–"


def round_number(name: str, cell: str) -> str:
    """Round the cell of a column of numbers to two decimals, or to three digits if it is small; a thickness to two.

    Any other text, and the cells of any other column, stay as they are.
    """
    column = find_column(name)
    if column is None or column.kind != "number":
        return cell
    try:
        value = float(cell)
    except ValueError:
        return cell
    if not math.isfinite(value):
        return cell
    if name.startswith("depth_mm") and value >= 0.01:
        return f"{round_measured_thickness(value):.2f}"
    decimals = max(2, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{round(value, decimals):.15g}"


def _create_method_row(method: Mapping[str, Any]) -> tuple[Cell, ...]:
    """Create the row of another method: its probability, or the reason why it has none."""
    value, title = method.get("probability"), str(method.get("title"))
    if value is None:
        return title, f"– {to_sentence(str(method.get('why') or 'unknown'))}"
    return title, Bar(f"{value:.2f}", float(value))


def _list_basis(prediction: Mapping[str, Any], *, personal: bool) -> dict[str, str]:
    """List the inputs of a prediction: label to text."""
    patches, model = prediction["patches"], prediction["model"]
    patches_text = ", ".join(f"{patch.get('what', 'patch')} {patch['probability']:.2f}" for patch in patches)
    predicted_depth = next((patch["depth_mm"] for patch in patches if patch.get("depth_mm") is not None), None)
    missing = [column_title(str(name)) for name in prediction.get("missing") or ()]
    provenance = prediction.get("provenance") or {}
    depth_text = hide_reader(str(prediction.get("depth_text") or "unknown"), personal=personal)
    inputs = {
        "Thickness used": to_sentence(depth_text),
        "Thickness predicted by the network": ""
        if predicted_depth is None
        else f"{predicted_depth:.2f} mm, from the deepest patch",
        "Patient and melanoma": format_known_data(prediction["known"], personal=personal),
        "Unknown": ", ".join(missing),
        "Patches": f"{len(patches)} of {prediction['options'].get('patch_mm', 3.0):g} mm: {patches_text}"
        if patches
        else "",
        "Model": f"{model.get('name')}: {model.get('title') or ''}, weights {str(model['fingerprint'])[:16]}",
        "Estimated": format_time(str(provenance.get("created") or "")) if personal else "",
    }
    return {name: text for name, text in inputs.items() if text}


def _format_value(value: float, interval: object) -> str:
    """Format a probability with its interval."""
    pair = _parse_interval(interval)
    return f"{value:.2f}" + ("" if pair is None else f" ({pair[0]:.2f} to {pair[1]:.2f})")


def _parse_interval(value: object) -> tuple[float, float] | None:
    """Read an interval from JSON; None if there is none."""
    return (float(value[0]), float(value[1])) if isinstance(value, list | tuple) and len(value) == 2 else None


def column_title(name: str) -> str:
    """Return the title of a column of the harmonized table; the name of any other column."""
    column = find_column(name)
    return column.title if column else name


def _column_unit(name: str, cell: str) -> str:
    column = find_column(name)
    return column.unit if column and cell != OLDEST else ""
