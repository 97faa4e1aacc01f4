"""The part of a slide's page about the risk: the answer, other methods, what it rests on, pictures, what to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_melanoma.data.table_schema import column_named
from napari_melanoma.depth.wording import said_when
from napari_melanoma.io.results import risk_validity_in

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
{% for one in risk.methods %}<tr><td>{{ one.title }}</td><td class="number">{{ one.said }}</td>
<td>{% if one.value is not none %}<div class="bar">{% if one.interval %}<span
style="left:{{ 100 * one.interval[0] }}%;width:{{ 100 * (one.interval[1] - one.interval[0]) }}%"></span>{% endif %}<i
style="left:{{ 100 * one.value }}%"></i></div>{% else %}<span class="quiet">{{ one.why }}</span>{% endif %}</td></tr>
{% endfor %}</table>
{% if risk.shares %}<h3>What each part changes</h3>
<table>
{% for one in risk.shares %}<tr><td>{{ one.title }}</td><td class="number">{{ one.said }}</td><td><div class="bar"><b
class="{{ 'less' if one.value < 0 else 'more' }}" style="left:{{ 50 + 50 * [one.value, 0] | min }}%;width:{{
50 * one.value | abs }}%"></b><em style="left:50%"></em></div></td></tr>
{% endfor %}</table>{% endif %}
<p class="quiet">{{ risk.without }}</p>
<h3>What it rests on</h3>
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
NO_SHARES = "What each part changes is not known of this model."
NO_MAPS = "Where the network looks (attention) and what speaks for its answer (Grad-CAM) were not asked for."
MAPS = (
    "Attention: where the network looks, whatever it answers. Grad-CAM: what speaks for metastasis. The brighter, the "
    "stronger; the most of each is as bright, however little it is. Where patches overlap, the stronger counts."
)


@dataclass(frozen=True)
class RiskRow:
    """A line with a bar: ``value`` in [-1, 1], None where there is none, and then ``why``."""

    title: str
    said: str
    value: float | None
    interval: tuple[float, float] | None = None
    why: str = ""


@dataclass(frozen=True)
class RiskPart:
    """What a page says of a risk."""

    verdict: str
    methods: Sequence[RiskRow]
    shares: Sequence[RiskRow]
    without: str
    fields: Mapping[str, str]
    warnings: Sequence[str]
    pictures: Sequence[tuple[str, str]] = ()
    note: str = NO_MAPS
    valid: bool = True


def risk_part(
    answer: Mapping[str, Any], cautions: Sequence[str] = (), pictures: Sequence[tuple[str, str]] = (), note: str = ""
) -> RiskPart:
    """Put an answer into the words of a page."""
    network = RiskRow(
        f"Image, depth and patient ({answer['model'].get('name', 'the model')})",
        _said(answer["probability"], answer.get("interval")),
        float(answer["probability"]),
        _pair(answer.get("interval")),
    )
    others = [_other(one) for one in answer["beside"].values()]
    shares, without = answer.get("shares") or {}, answer.get("without")
    rows = [RiskRow(name.capitalize(), f"{round(value, 2) + 0.0:+.2f}", float(value)) for name, value in shares.items()]
    since = f"They count from {without:.2f}, where nothing of this patient is known." if rows and without else NO_SHARES
    validity = risk_validity_in(answer)
    against = validity.cautions if validity.valid else validity.also
    warnings = [*against, *(sentence(str(one)) for one in (*cautions, *(answer.get("warnings") or ())))]
    verdict = sentence(validity.headline("") or str(answer["verdict"]))
    fields, methods = _fields(answer), [network, *others]
    return RiskPart(verdict, methods, rows, since, fields, warnings, pictures, note, validity.valid)


def sentence(text: str) -> str:
    """Make a sentence of a note."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def number_words(answer: Mapping[str, Any]) -> str:
    """Give the probability of an answer in words, without any conclusion."""
    said = f"risk of {answer.get('positive', 'metastasis')} {_said(answer['probability'], answer.get('interval'))}"
    return str(answer.get("number") or said)


def known_words(known: Mapping[str, object]) -> str:
    """Say what was known of a patient and a melanoma.

    Such as ``Age 64 years, Sex male``; a dash where nothing was.
    """
    return ", ".join(f"{_title(name)} {cell} {_unit(name)}".rstrip() for name, cell in known.items()) or "–"


def _other(one: Mapping[str, Any]) -> RiskRow:
    """Another method, or why it says nothing."""
    value = one.get("probability")
    if value is None:
        return RiskRow(str(one.get("title")), "–", None, why=sentence(str(one.get("why") or "not known")))
    return RiskRow(str(one.get("title")), f"{value:.2f}", float(value))


def _fields(answer: Mapping[str, Any]) -> dict[str, str]:
    """What an answer rests on."""
    patches, model = answer["patches"], answer["model"]
    each = ", ".join(f"{one.get('what', 'patch')} {one['probability']:.2f}" for one in patches)
    told = next((one["depth_mm"] for one in patches if one.get("depth_mm") is not None), None)
    missing = [_title(str(name)) for name in answer.get("missing") or ()]
    made = answer.get("provenance") or {}
    fields = {
        "Depth that was used": sentence(str(answer.get("depth_in_words") or "not known")),
        "Depth that the network tells": "" if told is None else f"{told:.2f} mm, from the deepest place",
        "Patient and melanoma": known_words(answer["known"]),
        "Not known": ", ".join(missing),
        "Patches": f"{len(patches)} of {answer['options'].get('patch_mm', 3.0):g} mm: {each}",
        "Model": f"{model.get('name')}: {model.get('title') or ''}, weights {str(model['fingerprint'])[:16]}",
        "Estimated": said_when(str(made.get("created") or "")),
    }
    return {name: text for name, text in fields.items() if text}


def _said(value: float, interval: object) -> str:
    """A probability with its interval."""
    pair = _pair(interval)
    return f"{value:.2f}" + ("" if pair is None else f" ({pair[0]:.2f} to {pair[1]:.2f})")


def _pair(value: object) -> tuple[float, float] | None:
    """Two ends, as JSON has them."""
    return (float(value[0]), float(value[1])) if isinstance(value, list | tuple) and len(value) == 2 else None


def _title(name: str) -> str:
    """What people read for a column."""
    column = column_named(name)
    return column.title if column else name


def _unit(name: str) -> str:
    """Of a column of numbers."""
    column = column_named(name)
    return column.unit if column else ""
