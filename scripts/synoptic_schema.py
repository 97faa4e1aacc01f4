"""Write the JSON Schema of the file of a synoptic report, ``docs/reference/synoptic.schema.json``.

Run it after a change of the fields or of the model: ``python scripts/synoptic_schema.py``
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_melanoma.depth.synoptic import DERIVED, SynopticReport
from napari_melanoma.depth.synoptic_fields import ANSWERED, FIELDS, SynopticField
from napari_melanoma.extensions.synoptic.fhir import LOINC_CODES

SCHEMA = Path(__file__).resolve().parent.parent / "docs" / "reference" / "synoptic.schema.json"


def field_list() -> str:
    """Return the fields as a Markdown table."""
    lines = ["| field | title | values | also | LOINC |", "|---|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | {one.label} | {allowed(one)} | {', '.join(one.absent) or '–'} | "
        f"{LOINC_CODES.get(one.name, '–')} |"
        for one in FIELDS
    ]
    return "\n".join(lines)


def allowed(one: SynopticField) -> str:
    """Describe the values of a field."""
    if one.kind == "choice":
        return ", ".join(f"`{word}`" for word in one.choices)
    if one.kind == "number":
        return f"{'whole number, ' if one.is_integer else ''}0 to {one.most:g} {one.unit}".rstrip()
    return "any text"


def schema() -> dict[str, Any]:
    """Return the schema of the model, with the values that each field accepts."""
    found = SynopticReport.model_json_schema()
    answer = found["$defs"]["SynopticAnswer"]
    answer |= {
        "if": {"properties": {"state": {"const": ANSWERED}}},
        "then": {"required": ["value"]},
        "else": {"not": {"required": ["value"]}},
    }
    found["properties"]["answers"] |= {"properties": {one.name: answer_schema(one) for one in FIELDS}}
    found["properties"]["answers"]["additionalProperties"] = True  # fields of a newer version are kept
    found["properties"][DERIVED] = {
        "type": "object",
        "description": "follows from the answers; written for other programs, and computed again when read",
        "properties": {
            "status": {"enum": ["preliminary", "final", "amended"]},
            "breslow_recorded": {"type": ["string", "null"]},
            "t_category": {"type": ["string", "null"]},
            "t_category_reason": {"type": "string"},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "title": "Synoptic report of a primary cutaneous melanoma",
    }


def answer_schema(one: SynopticField) -> dict[str, Any]:
    """Return the schema of the answer to a field."""
    value: dict[str, Any] = {"type": "string"}
    if one.kind == "choice":
        value = {"enum": list(one.choices)}
    elif one.kind == "number":
        kind = "integer" if one.is_integer else "number"
        value = {"type": kind, "minimum": 0, "maximum": one.most, **({"description": one.unit} if one.unit else {})}
    return {
        "title": one.label,
        **({"description": one.help} if one.help else {}),
        "allOf": [{"$ref": "#/$defs/SynopticAnswer"}],
        "properties": {"state": {"enum": [ANSWERED, *one.absent]}, "value": value},
    }


def schema_text() -> str:
    """Return the schema as it is written."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
