"""Make pictures of a run, of the list of runs and of the model comparison, in a dock of 340 pixels.

Run ``python scripts/run_pictures.py RUNS [--out docs/images] [--theme dark]`` with a display, or under
``xvfb-run -s "-screen 0 1600x1200x24"``; RUNS is a folder of run folders, of which the newest is shown.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtCore import QSettings, Qt
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from napari_melanoma.runs.launching import list_runs
from napari_melanoma.ui.launch import process_events
from napari_melanoma.ui.train.comparison import RunComparisonView
from napari_melanoma.ui.train.run_list import RunList
from napari_melanoma.ui.train.run_view import RunView
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import Connections, ThemedIcons

WIDTH_PX = 340


def picture(viewer: napari.Viewer, make: Callable[[ThemedIcons], QWidget], path: Path) -> None:
    """Show a widget in the viewer as a dock, and save it as PNG."""
    page, connections = QWidget(), Connections()
    icons = ThemedIcons(viewer, page, connections)
    column = QVBoxLayout(page)
    column.addWidget(make(icons))
    column.addStretch(1)
    icons.apply()
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(page)
    scroll.setFixedWidth(WIDTH_PX)
    viewer.window.add_dock_widget(scroll, name=path.stem, area="right")
    process_events(6.0)  # time for importing the plots and reading the images
    if not page.grab().save(str(path)):
        raise SystemExit(f"cannot write {path}")
    viewer.window.remove_dock_widget(scroll)
    connections.close()


def main() -> int:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = list_runs(arguments.runs)
    if not found:
        raise SystemExit(f"{arguments.runs} contains no run folder")

    viewer = napari.Viewer()
    viewer.theme = arguments.theme
    viewer.window.resize(1400, 1100)
    with tempfile.TemporaryDirectory() as folder:
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)

        def run(icons: ThemedIcons) -> QWidget:
            view = RunView(icons, DockSettings())
            view.set_run(found[0].path)
            return view

        def gate(icons: ThemedIcons) -> QWidget:
            view = RunComparisonView()
            view.show_comparison(found[0])
            return view

        def runs(icons: ThemedIcons) -> QWidget:
            view = RunList(icons, arguments.runs)
            view.listed.connect(lambda reports: view.select(found[0].path))
            return view

        picture(viewer, run, arguments.out / "run-view.png")
        picture(viewer, runs, arguments.out / "runs-list.png")
        if found[0].bundle is not None:
            picture(viewer, gate, arguments.out / "gate.png")
        viewer.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
