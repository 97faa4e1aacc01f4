"""The documentation lists all columns and words of the table, and its example runs."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.data.table_schema import COLUMN_NAMES

REPOSITORY = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("table_columns", REPOSITORY / "scripts" / "table_columns.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.written(page) == page, "run python scripts/table_columns.py"
    assert all(f"| `{name}` |" in page for name in COLUMN_NAMES)


def test_the_examples_run() -> None:
    page = (REPOSITORY / "docs" / "reference" / "table.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    values: dict[str, object] = {}
    exec(example, values)
    assert "{'image_id': 'ISIC_1', 'age': '45', 'sex': 'female', 'site_as_given': 'Glabella'}" in example
    assert values["found"].rows == [{"image_id": "ISIC_1", "age": "45", "sex": "female", "site_as_given": "Glabella"}]
    (mapping,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert TableMapping.parse(tomllib.loads(mapping), "the page").apply({"Befund": "x", "site": "Glabella"}) == {
        "diagnosis": "x",
        "site": "forehead",
    }
