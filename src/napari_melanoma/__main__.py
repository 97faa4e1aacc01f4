"""``python -m napari_melanoma``: the command line, also if the script is not on the path."""

from __future__ import annotations

from napari_melanoma.cli import main

if __name__ == "__main__":
    main()
