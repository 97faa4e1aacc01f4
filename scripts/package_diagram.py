"""Draw docs/images/packages.svg from the layers of the import contract in ``pyproject.toml``.

Run it after a change of the contract: ``python scripts/package_diagram.py``
"""

from __future__ import annotations

import tomllib
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TARGET = REPOSITORY / "docs" / "images" / "packages.svg"

# The bands of the picture, from top to bottom; together they name each layer of the contract once, in its order.
BANDS = (
    ("Extensions", ("extensions",)),
    ("Interfaces", ("__main__", "ui | cli | api", "worker", "doctor | model_check | torch_backends")),
    ("Studies and reports", ("runs", "reports", "evaluation")),
    ("Capabilities", ("case", "slides", "depth", "lesion", "classification")),
    ("Training and data", ("training", "phantoms", "data", "models")),
    ("Foundations", ("figures", "metrics", "imaging", "privacy", "io", "samples", "core")),
)
COLORS = ("#f3e3e0", "#dbe7f3", "#e4e9dc", "#f6e6d2", "#efe0ea", "#e6e6e6")
WIDTH, MARGIN, TITLE, BOX, GAP, ROW = 860, 16, 190, 36, 8, 60


def read_layers() -> list[str]:
    """Read the layers of the contract, the highest first."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["id"] == "layers"]
    return contract["layers"]


def draw() -> str:
    """Return the picture as SVG: one band per group of layers, imports point down and to the right."""
    layers = read_layers()
    named = [layer for _, band in BANDS for layer in band]
    if named != layers:
        raise SystemExit(f"the bands of {Path(__file__).name} differ from the contract:\n{named}\n{layers}")
    height = 2 * MARGIN + len(BANDS) * ROW + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" role="img">',
        "<title>The packages, from the interfaces down to the foundations</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for row, ((title, band), color) in enumerate(zip(BANDS, COLORS, strict=True)):
        y = MARGIN + row * ROW
        parts.append(
            f'<rect x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{ROW - GAP}" rx="6" fill="{color}"/>'
        )
        parts.append(
            f'<text x="{MARGIN + 14}" y="{y + ROW / 2 + 1}" font-size="14" font-weight="bold" fill="#333">'
            f"{escape(title)}</text>"
        )
        room = (WIDTH - 2 * MARGIN - TITLE - GAP) / len(band)
        for column, layer in enumerate(band):
            x = MARGIN + TITLE + column * room
            parts.append(
                f'<rect x="{x:.1f}" y="{y + GAP}" width="{room - GAP:.1f}" height="{BOX}" rx="4" fill="#fff" '
                'stroke="#777"/>'
            )
            # A long name is fitted to its box, as fonts that replace Helvetica may be wider.
            fit = f'textLength="{room - GAP - 12:.1f}" lengthAdjust="spacingAndGlyphs" ' if len(layer) > 20 else ""
            parts.append(
                f'<text x="{x + (room - GAP) / 2:.1f}" y="{y + GAP + BOX / 2 + 5}" font-size="13" text-anchor="middle" '
                f'{fit}fill="#222">{escape(layer.replace("|", "·"))}</text>'
            )
    y = MARGIN + len(BANDS) * ROW + 16
    parts.append(
        f'<text x="{MARGIN}" y="{y}" font-size="13" fill="#333">A package imports only packages below it '
        "or to the right of it in the same band.</text>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
