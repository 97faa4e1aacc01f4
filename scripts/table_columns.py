"""Write the list of columns and values into ``docs/reference/table.md``, from the schema and the taxonomies.

Run it after a change of either: ``python scripts/table_columns.py``
"""

from __future__ import annotations

import re
from pathlib import Path

from napari_melanoma.data.table_schema import COLUMNS, Column
from napari_melanoma.data.taxonomy import load_taxonomy

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "table.md"


def column_list() -> str:
    """Return the columns as a Markdown table."""
    lines = ["| column | title | description | values |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.title} | {c.description} | {allowed(c)} |" for c in COLUMNS]
    return "\n".join(lines)


def allowed(column: Column) -> str:
    """Describe the values of a column."""
    if column.kind == "number":
        return f"{column.low:g} to {column.high:g} {column.unit}"
    if column.kind == "yes_no":
        return "1 or 0"
    if column.kind == "text":
        return ", ".join(column.expected) or "any text"
    words = load_taxonomy(column.taxonomy).words[:-1]
    return ", ".join(words) if len(words) <= 6 else f"a word of `{column.taxonomy}.csv`"


def word_list() -> str:
    """Return the sites with their sub-sites as a Markdown table."""
    sites, sub_sites = load_taxonomy("site"), load_taxonomy("sub_site")
    lines = ["| site | sub-sites |", "|---|---|"]
    for site in sites.words[:-1]:
        within = [sub_site for sub_site in sub_sites.words if sub_sites.parent(sub_site) == site]
        lines.append(f"| {site} | {', '.join(within)} |")
    return "\n".join(lines)


def written(page: str) -> str:
    """Insert both lists between their markers."""
    for name, text in (("columns", column_list()), ("sites", word_list())):
        page = re.sub(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", rf"\g<1>\n{text}\n\g<2>", page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
