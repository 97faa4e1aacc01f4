"""Load all plug-ins in a process of its own, and print why some cannot be used: a line of JSON, for ``doctor``."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec

from napari_melanoma.core.plugins import FAMILIES, find_family, list_plugins

QT_BINDINGS = ("PyQt6", "PySide6")


def main() -> None:
    """Print an object with ``errors``: the messages by package."""
    errors: dict[str, list[str]] = {}
    for plugin in list_plugins():
        if plugin.family not in FAMILIES:
            error = plugin.make_error(f"expected a family of {', '.join(FAMILIES)}, found '{plugin.family}'")
            errors.setdefault(plugin.package, []).append(str(error))
    for family in {plugin.family for plugin in list_plugins()} & set(FAMILIES):
        if family != "sections" or any(map(find_spec, QT_BINDINGS)):
            for broken, error in find_family(family).errors.items():
                errors.setdefault(broken.package, []).append(str(error))
    sys.stdout.write(f"\n{json.dumps({'errors': errors})}\n")


if __name__ == "__main__":
    main()
