"""Write the graphs of the shipped models, from which ONNX Runtime runs them.

Run it after a change of the weights of a shipped model or of ``models/network_functions.py``:
``python scripts/write_graphs.py`` for all, ``python scripts/write_graphs.py lesion-small`` for some.
With the same versions of torch and onnxscript, it writes the same bytes again.
"""

from __future__ import annotations

import sys

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.models.bundle import load_network, read_bundle
from napari_melanoma.models.graphs import write_graphs
from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER


def main(names: list[str]) -> None:
    """Write the graphs of the named models, or of all."""
    for folder in sorted(SHIPPED_FOLDER.iterdir()):
        if folder.is_dir() and (not names or folder.name in names):
            info = read_bundle(folder)
            write_graphs(info, load_network(info), run=RunContext(lambda step, name=folder.name: report(name, step)))


def report(name: str, step: Progress) -> None:
    """Print the progress of a model."""
    sys.stdout.write(f"{name}: {step.done} of {step.total}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
