"""What a reader set stays through every operation of the product, unless the operation is about it.

The subjects are all operations on the lesions and on the regions of a slide: functions whose first argument are the
lesions or regions, and which return them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from napari_melanoma.slides import lesion_edits, region_operations, regions

SIDE = 64


def list_operations(module: ModuleType, argument: str, returned: str) -> dict[str, Callable[..., Any]]:
    """The public functions of a module from lesions or regions to lesions or regions."""
    found = {}
    for name, function in vars(module).items():
        if not inspect.isfunction(function) or name.startswith("_") or function.__module__ != module.__name__:
            continue
        signature = inspect.signature(function)
        if next(iter(signature.parameters), "") == argument and returned in str(signature.return_annotation):
            found[name] = function
    return found


LESION_EDITS = list_operations(lesion_edits, "lesions", "Lesions")
REGION_EDITS = list_operations(region_operations, "regions", "Regions") | list_operations(regions, "regions", "Regions")
