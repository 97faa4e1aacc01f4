"""Write the list of columns and of words into ``docs/reference/table.md``, from the schema and the taxonomies.

Run it after a change of either: ``python scripts/table_columns.py``
"""

from __future__ import annotations

import re
from pathlib import Path

from napari_melanoma.data.table_schema import COLUMNS, Column
from napari_melanoma.data.taxonomy import load_taxonomy

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "table.md"


def column_list() -> str:
    """Give the columns as a table of Markdown."""
    lines = ["| column | title | what it says | what stands in it |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.title} | {c.description} | {allowed(c)} |" for c in COLUMNS]
    return "\n".join(lines)


def allowed(column: Column) -> str:
    """Say what may stand in a cell."""
    if column.kind == "number":
        return f"{column.low:g} to {column.high:g} {column.unit}"
    if column.kind == "yes_no":
        return "1 or 0"
    if column.kind == "text":
        return "any text"
    words = load_taxonomy(column.taxonomy).words[:-1]
    return ", ".join(words) if len(words) <= 6 else f"a word of `{column.taxonomy}.csv`"


def word_list() -> str:
    """Give the sites with the places within them as a table of Markdown."""
    sites, places = load_taxonomy("site"), load_taxonomy("sub_site")
    lines = ["| site | places within it |", "|---|---|"]
    for site in sites.words[:-1]:
        within = [place for place in places.words if places.parent(place) == site]
        lines.append(f"| {site} | {', '.join(within)} |")
    return "\n".join(lines)


def written(page: str) -> str:
    """Put both lists between their marks."""
    for name, text in (("columns", column_list()), ("sites", word_list())):
        page = re.sub(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", rf"\g<1>\n{text}\n\g<2>", page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
