"""What of a slide's own words may be shown: a list of what is harmless, as nobody knows all that can name a patient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_LONGEST = 200  # longer ones are whole descriptions, in which anything may stand

# The last part of a property's name. Names, dates, numbers of slide or case, users and files are not among them.
_HARMLESS = re.compile(
    r"(mpp(-?[xy])?|app ?mag|objective.*|magnification|.*objectivepower|objective-power|vendor|level-count|"
    r"(tile-?)?(height|width)|downsample|bounds-(x|y|width|height)|background-color|"
    r"make|model|manufacturer(modelname)?|product|software(versions)?|acquisitionsoftware|descriptionversion|"
    r"[xy]resolution|resolutionunit|physicalsize[xyz](unit)?|size[xyczt]|type|dimensionorder|"
    r"compression|quality|jpeg.?quality|imagetype|exposure ?time|signalunits|icc ?profile|"
    r"pixelspacing(\[\d\])?|totalpixelmatrix(rows|columns|focalplanes)|imagedvolume(depth|height|width)|numberofframes|"
    r"numberofopticalpaths|photometricinterpretation|modality|focusmethod|sourcelens|stripewidth|filtered|gamma)",
    re.IGNORECASE,
)


def harmless(properties: Mapping[str, str]) -> Mapping[str, str]:
    """Keep the properties of a slide that cannot point at a patient.

    Those whose name is known to be harmless, with short values; read-only and sorted.
    """
    kept = {name: value for name, value in sorted(properties.items()) if _is_harmless(name) and len(value) <= _LONGEST}
    return MappingProxyType(kept)


def _is_harmless(name: str) -> bool:
    """Whether the last part of a name is on the list."""
    return _HARMLESS.fullmatch(re.split(r"[.\s](?=[^.\s]*$)", name)[-1]) is not None or (
        _HARMLESS.fullmatch(name) is not None
    )
