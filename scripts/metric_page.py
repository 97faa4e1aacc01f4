"""Write the tables of metrics into ``docs/reference/metrics.md``, from ``metrics/metric_table.py``.

Run it after a change of that file: ``python scripts/metric_page.py``
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from napari_melanoma.metrics import metric_table
from napari_melanoma.metrics.metric_table import Metric

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "metrics.md"
TABLES = {
    "masks": metric_table.MASK_METRICS,
    "classes": metric_table.CLASS_METRICS | metric_table.SET_METRICS,
    "depths": metric_table.DEPTH_METRICS,
    "clicks": metric_table.CLICK_METRICS,
    "papers": metric_table.PAPER_METRICS,
}


def metric_list(metrics: Mapping[str, Metric]) -> str:
    """Return metrics as a Markdown table."""
    lines = ["| key | title | better | range | definition |", "|---|---|---|---|---|"]
    lines += [
        f"| `{metric.key}` | {metric.label} | {metric.better} | {_range(metric)} | {metric.definition} |"
        for metric in metrics.values()
    ]
    return "\n".join(lines)


def _range(metric: Metric) -> str:
    low, high = metric.limits
    if math.isinf(low):
        return "any"
    return f"from {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"


def written(page: str) -> str:
    """Insert each table between its markers."""
    for name, metrics in TABLES.items():
        text = metric_list(metrics)
        page = re.sub(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", rf"\g<1>\n{text}\n\g<2>", page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
