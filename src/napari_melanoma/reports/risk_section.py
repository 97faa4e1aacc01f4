"""The risk section of a slide report: prediction, other methods, inputs, pictures and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_melanoma.core.validity import read_risk_validity
from napari_melanoma.data.table_schema import find_column
from napari_melanoma.depth.category import format_time

STYLE = """
.bar { position: relative; height: 1rem; min-width: 12rem; background: #eceeec; border-radius: 3px; }
.bar span { position: absolute; top: 0; bottom: 0; background: #b9cfe4; border-radius: 3px; }
.bar i { position: absolute; top: -2px; bottom: -2px; width: 3px; margin-left: -1px; background: #1d4f80; }
.bar b { position: absolute; top: 0; bottom: 0; background: #3b6fa0; } .bar b.less { background: #d08000; }
.bar em { position: absolute; top: 0; bottom: 0; width: 1px; background: #8a9096; }
td.number { white-space: nowrap; } .patches { display: flex; flex-wrap: wrap; gap: .8rem; }
.patches figure { flex: 0 1 18rem; margin: .4rem 0; }
"""
BLOCK = """{% if risk %}<h2>Risk of metastasis</h2>
<p class="lead{{ '' if risk.valid else ' notice' }}">{{ risk.verdict }}</p>
{% for one in risk.warnings %}<p class="notice">{{ one }}</p>
{% endfor %}
{% if not risk.valid %}<details><summary>Show the number anyway</summary>{% endif %}
<table>
<thead><tr><th>Method</th><th class="number">Probability</th><th></th></tr></thead>
{% for one in risk.methods %}<tr><td>{{ one.title }}</td><td class="number">{{ one.text }}</td>
<td>{% if one.value is not none %}<div class="bar">{% if one.interval %}<span
style="left:{{ 100 * one.interval[0] }}%;width:{{ 100 * (one.interval[1] - one.interval[0]) }}%"></span>{% endif %}<i
style="left:{{ 100 * one.value }}%"></i></div>{% else %}<span class="quiet">{{ one.why }}</span>{% endif %}</td></tr>
{% endfor %}</table>
{% if risk.shares %}<h3>Contributions</h3>
<table>
{% for one in risk.shares %}<tr><td>{{ one.title }}</td><td class="number">{{ one.text }}</td><td><div class="bar"><b
class="{{ 'less' if one.value < 0 else 'more' }}" style="left:{{ 50 + 50 * [one.value, 0] | min }}%;width:{{
50 * one.value | abs }}%"></b><em style="left:50%"></em></div></td></tr>
{% endfor %}</table>{% endif %}
<p class="quiet">{{ risk.without }}</p>
<h3>Inputs</h3>
<table>
{% for name, value in risk.fields.items() %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table>
{% if risk.pictures %}<div class="patches">{% for caption, picture in risk.pictures %}
<figure><img alt="{{ caption }}" src="{{ picture }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}</div>{% endif %}
<p class="quiet">{{ risk.note }}</p>
{% if not risk.valid %}</details>{% endif %}
{% endif %}
"""
NO_SHARES = "Contributions are not available for this model."
NO_MAPS = "No attention and Grad-CAM maps were computed."
MAPS = (
    "Attention: the weight of each position, for any prediction. Grad-CAM: evidence for metastasis. Brightness is "
    "scaled to the maximum of each map. Where patches overlap, the larger value is shown."
)


@dataclass(frozen=True)
class RiskRow:
    """A table row with a bar: ``value`` in [-1, 1], or None with the reason ``why``."""

    title: str
    text: str
    value: float | None
    interval: tuple[float, float] | None = None
    why: str = ""


@dataclass(frozen=True)
class RiskPart:
    """Content of the risk section."""

    verdict: str
    methods: Sequence[RiskRow]
    shares: Sequence[RiskRow]
    without: str
    fields: Mapping[str, str]
    warnings: Sequence[str]
    pictures: Sequence[tuple[str, str]] = ()
    note: str = NO_MAPS
    valid: bool = True


def create_risk_part(
    prediction: Mapping[str, Any],
    cautions: Sequence[str] = (),
    pictures: Sequence[tuple[str, str]] = (),
    note: str = "",
) -> RiskPart:
    network = RiskRow(
        f"Image, depth and patient ({prediction['model'].get('name', 'the model')})",
        _format_value(prediction["probability"], prediction.get("interval")),
        float(prediction["probability"]),
        _parse_interval(prediction.get("interval")),
    )
    others = [_create_method_row(one) for one in prediction["beside"].values()]
    shares, without = prediction.get("shares") or {}, prediction.get("without")
    rows = [RiskRow(name.capitalize(), f"{round(value, 2) + 0.0:+.2f}", float(value)) for name, value in shares.items()]
    reference = (
        f"Relative to {without:.2f}, the probability without any patient data." if rows and without else NO_SHARES
    )
    validity = read_risk_validity(prediction)
    reasons = validity.cautions if validity.valid else validity.other_reasons
    warnings = [*reasons, *(to_sentence(str(one)) for one in (*cautions, *(prediction.get("warnings") or ())))]
    verdict = to_sentence(validity.headline("") or str(prediction["verdict"]))
    fields, methods = _list_basis(prediction), [network, *others]
    return RiskPart(verdict, methods, rows, reference, fields, warnings, pictures, note, validity.valid)


def to_sentence(text: str) -> str:
    """Turn a note into a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def format_probability(prediction: Mapping[str, Any]) -> str:
    """Format the probability of a prediction, without a conclusion."""
    value = _format_value(prediction["probability"], prediction.get("interval"))
    return str(prediction.get("number") or f"risk of {prediction.get('positive', 'metastasis')} {value}")


def format_known_data(known: Mapping[str, object]) -> str:
    """Format the known data of a patient and a melanoma, such as ``Age 64 years, Sex male``; a dash if unknown."""
    return (
        ", ".join(f"{_column_title(name)} {cell} {_column_unit(name)}".rstrip() for name, cell in known.items()) or "–"
    )


def _create_method_row(one: Mapping[str, Any]) -> RiskRow:
    """Create the row of another method, or of the reason why it has no result."""
    value = one.get("probability")
    if value is None:
        return RiskRow(str(one.get("title")), "–", None, why=to_sentence(str(one.get("why") or "unknown")))
    return RiskRow(str(one.get("title")), f"{value:.2f}", float(value))


def _list_basis(prediction: Mapping[str, Any]) -> dict[str, str]:
    """List the inputs of a prediction."""
    patches, model = prediction["patches"], prediction["model"]
    each = ", ".join(f"{one.get('what', 'patch')} {one['probability']:.2f}" for one in patches)
    predicted_depth = next((one["depth_mm"] for one in patches if one.get("depth_mm") is not None), None)
    missing = [_column_title(str(name)) for name in prediction.get("missing") or ()]
    made = prediction.get("provenance") or {}
    fields = {
        "Thickness used": to_sentence(str(prediction.get("depth_in_words") or "unknown")),
        "Thickness predicted by the network": ""
        if predicted_depth is None
        else f"{predicted_depth:.2f} mm, from the deepest patch",
        "Patient and melanoma": format_known_data(prediction["known"]),
        "Unknown": ", ".join(missing),
        "Patches": f"{len(patches)} of {prediction['options'].get('patch_mm', 3.0):g} mm: {each}",
        "Model": f"{model.get('name')}: {model.get('title') or ''}, weights {str(model['fingerprint'])[:16]}",
        "Estimated": format_time(str(made.get("created") or "")),
    }
    return {name: text for name, text in fields.items() if text}


def _format_value(value: float, interval: object) -> str:
    """Format a probability with its interval."""
    pair = _parse_interval(interval)
    return f"{value:.2f}" + ("" if pair is None else f" ({pair[0]:.2f} to {pair[1]:.2f})")


def _parse_interval(value: object) -> tuple[float, float] | None:
    """Read an interval from JSON."""
    return (float(value[0]), float(value[1])) if isinstance(value, list | tuple) and len(value) == 2 else None


def _column_title(name: str) -> str:
    column = find_column(name)
    return column.title if column else name


def _column_unit(name: str) -> str:
    column = find_column(name)
    return column.unit if column else ""
