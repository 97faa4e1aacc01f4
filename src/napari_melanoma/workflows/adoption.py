"""After the gate: taking a run's model over, or discarding it, each noted in the run folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.models.registry import adopt
from napari_melanoma.workflows.model_card import judge_card

if TYPE_CHECKING:
    from napari_melanoma.workflows.comparison import Comparison

ADOPTED, DISCARDED = "adopted.json", "discarded.json"


def take_over(run: Path, name: str | None = None) -> BundleInfo:
    """Put the model of a run among the user's own; the one it is to replace stays.

    Returns the model in its new place; asked for again, the same one.
    """
    noted = _noted(run / ADOPTED)
    if noted and isinstance(noted.get("path"), str):
        try:
            return read_bundle(Path(noted["path"]))
        except (BundleError, ConfigError):  # removed since: take it over anew
            pass
    judge_card(run)
    bundle = adopt(read_bundle(RunFolder(run).bundle), name)
    write_json(run / ADOPTED, {"name": bundle.name, "path": str(bundle.path), "time": round(time.time(), 3)})
    (run / DISCARDED).unlink(missing_ok=True)
    return bundle


def objection(comparison: Comparison | None, *, discarded: bool) -> str:
    """Say what speaks against using the model of a run, with the figures.

    Empty where nothing does.
    """
    said = ["This model was discarded."] if discarded else []
    if comparison is not None and comparison.advice == "keep":
        said += [f"The advice is to keep {comparison.old.name}.", comparison.reason or f"{comparison.summary()}."]
    elif discarded and comparison is not None:
        said.append(f"{comparison.summary()}.")
    return " ".join(said)


def discard(run: Path) -> None:
    """Note that the model of a run is not wanted; its files stay, so that it can be taken over after all."""
    if not (run / DISCARDED).exists():
        write_json(run / DISCARDED, {"time": round(time.time(), 3)})


def adopted_name(run: Path) -> str | None:
    """Give the name under which the model of a run was taken over.

    None where it was not.
    """
    noted = _noted(run / ADOPTED)
    return str(noted["name"]) if noted and "name" in noted else None


def is_discarded(run: Path) -> bool:
    """Say whether the model of a run was found not to be wanted.

    False where it was taken over.
    """
    return (run / DISCARDED).is_file() and not (run / ADOPTED).is_file()


def _noted(path: Path) -> dict[str, Any] | None:
    """Read a note; None where there is none."""
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
