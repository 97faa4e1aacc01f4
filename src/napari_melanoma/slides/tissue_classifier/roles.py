"""Which painted classes are tumor, epidermis, background and nevus: lesions and depth are measured of these."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.prediction_config import TissueRole

ROLES: tuple[TissueRole, ...] = get_args(TissueRole)
# Whole names without accents, in English, German, French, Spanish, Italian and Portuguese.
NAMES: dict[TissueRole, str] = {
    "tumor": "(invasive )?(melanom[aeo]?|tumou?re?|tumeur|tumore|malignant)",
    "epidermis": "epiderm(is|e|ide)",
    "background": "background|glass|hintergrund|glas|fond|verre|fondo|vidrio|sfondo|vetro|fundo|vidro",
    "nevus": "n(ae?|e)v(us|o)( cells)?|benign",
}


def guess_roles(classes: Iterable[str]) -> dict[TissueRole, str]:
    """Return the first class with the name of each role, such as *Epidermis* or *Glas*; without the others."""
    found: dict[TissueRole, str] = {}
    for name in classes:
        plain = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
        for role in ROLES:
            if re.fullmatch(NAMES[role], plain.strip().lower()):
                found.setdefault(role, name)
    return found


def choose_roles(classes: Sequence[str], selected: Mapping[TissueRole, str]) -> dict[TissueRole, str]:
    """Return the class of each role: the selected one, or else that with its name.

    ``selected``: may be empty for a role, which then has no class. Raises ``InputError`` if there is no such class, or
    if it has two roles.
    """
    roles = {role: name for role, name in {**guess_roles(classes), **selected}.items() if name}
    for role, name in roles.items():
        if name not in classes:
            raise InputError(f"'{name}' is the class of role '{role}', but painted are {', '.join(classes)}.")
    if len({*roles.values()}) < len(roles):
        listed = ", ".join(f"{role} = {name}" for role, name in roles.items())
        raise InputError(f"each class has at most one role, but found {listed}. Select other classes.")
    return roles
