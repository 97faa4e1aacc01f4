"""``python -m napari_melanoma``: the command line, also where the script is not on the path."""

from napari_melanoma.cli import main

if __name__ == "__main__":
    main()
