"""Makes the pictures of the documentation from the running program, so that they show what a user will see.

Run ``python scripts/screenshots.py [--out docs/images] [--photograph FILE] [--theme dark]`` with a display, or under
``xvfb-run -s "-screen 0 1600x1000x24"``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.demo import let_qt_work, open_and_analyse
from napari_melanoma.ui.lesion import LesionDock
from napari_melanoma.ui.open import viewer_with_dock


def picture(widget: QWidget, path: Path) -> None:
    """Write what a widget shows as PNG."""
    let_qt_work(0.6)
    if not widget.grab().save(str(path)):
        raise SystemExit(f"cannot write {path}")


def narrow(dock: LesionDock) -> None:
    """Give the dock the least width that it promises to work at, in its window."""
    frame = dock.parentWidget()
    dock.window().resizeDocks([frame], [340], Qt.Orientation.Horizontal)


def main() -> int:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--photograph", type=Path)
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    viewer, dock = viewer_with_dock()
    viewer.theme = arguments.theme
    window = dock.window()
    window.resize(1400, 900)
    narrow(dock)
    picture(dock, arguments.out / "lesion-dock-empty.png")
    open_and_analyse(dock, arguments.photograph)
    dock.analyse.click()  # once more, for a picture of what a user sees from the second photograph on
    while dock.busy:
        let_qt_work(0.05)
    picture(window, arguments.out / "lesion-dock.png")
    picture(dock, arguments.out / "lesion-dock-controls.png")
    viewer.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
