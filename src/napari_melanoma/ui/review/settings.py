"""What the docks remember of whoever reviews: the name, the corrections' folder, the diagnoses that were used."""

from __future__ import annotations

import getpass
import json
from contextlib import suppress
from pathlib import Path

from napari_melanoma.core.parsing import parse_json
from napari_melanoma.ui.settings import Settings

DIAGNOSES = (
    "melanoma",
    "nevus",
    "atypical nevus",
    "seborrheic keratosis",
    "basal cell carcinoma",
    "squamous cell carcinoma",
    "actinic keratosis",
    "solar lentigo",
    "lichenoid keratosis",
    "dermatofibroma",
    "vascular lesion",
)
DIAGNOSES_KEPT = 20


class ReviewSettings(Settings):
    """The values of ``Settings``, and those of the corrections and of the Review dock."""

    @property
    def reviewer(self) -> str:
        """Who reviews; the name of the account until the user gives another."""
        kept = str(self._store.value("corrections/reviewer", "") or "")
        if not kept:
            with suppress(OSError, KeyError, ImportError):  # an account without a name, as in some containers
                kept = getpass.getuser()
        return kept

    @reviewer.setter
    def reviewer(self, name: str) -> None:
        self._store.setValue("corrections/reviewer", name.strip())

    @property
    def corrections(self) -> Path:
        """The folder of the corrections; the user's own until another one is chosen."""
        from napari_melanoma.data.corrections_place import corrections_folder

        kept = str(self._store.value("corrections/folder", "") or "")
        return Path(kept) if kept else corrections_folder()

    @corrections.setter
    def corrections(self, folder: Path) -> None:
        self._store.setValue("corrections/folder", str(folder))

    @property
    def diagnoses(self) -> list[str]:
        """Diagnoses that were given before, the last one first, and then those of the public data sets."""
        return list(dict.fromkeys([*self._used(), *DIAGNOSES]))

    def use_diagnosis(self, diagnosis: str) -> None:
        """Offer a diagnosis first from now on."""
        if diagnosis:
            used = list(dict.fromkeys([diagnosis, *self._used()]))[:DIAGNOSES_KEPT]
            self._store.setValue("corrections/diagnoses", json.dumps(used))

    @property
    def how(self) -> str:
        """How photographs are rated; ``entropy`` by default."""
        return str(self._store.value("review/how", "entropy"))

    @how.setter
    def how(self, how: str) -> None:
        self._store.setValue("review/how", how)

    @property
    def review_folder(self) -> Path | None:
        """The folder that was reviewed last; None where it is gone."""
        kept = str(self._store.value("review/folder", "") or "")
        return Path(kept) if kept and Path(kept).is_dir() else None

    @review_folder.setter
    def review_folder(self, folder: Path) -> None:
        self._store.setValue("review/folder", str(folder))

    def _used(self) -> list[str]:
        try:
            used = parse_json(str(self._store.value("corrections/diagnoses", "[]")), "the settings")
        except ValueError:  # edited by hand
            return []
        return [str(word) for word in used] if isinstance(used, list) else []
