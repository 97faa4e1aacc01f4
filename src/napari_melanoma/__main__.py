"""Run the command line with ``python -m napari_melanoma``, which works even if its script is not on the path."""

from __future__ import annotations

from napari_melanoma.cli import main

if __name__ == "__main__":
    main()
