"""Several result folders of slides written out in several formats; one that cannot be is told, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.errors import ConfigError, InputError, in_words
from napari_melanoma.core.runs import Cancelled, Progress, RunContext
from napari_melanoma.io.slide_results import STORE
from napari_melanoma.workflows.slide_export import FORMATS, exported


@dataclass(frozen=True)
class Written:
    """One file that was written, or why it was not."""

    folder: Path
    format: str
    path: Path
    error: str = ""


def result_folders_in(places: Sequence[Path]) -> list[Path]:
    """Find the result folders of slides.

    Each once, in their order.
    """
    found: dict[Path, None] = {}
    for place in places:
        below = sorted(path for path in place.glob("*") if _is_own(path)) if place.is_dir() else []
        own = [place] if _is_own(place) else below
        if not own:
            raise InputError(
                f"{place} holds no results of slides: expected a folder that 'napari-melanoma slide' or the Slide dock "
                "made."
            )
        found |= dict.fromkeys(own)
    return list(found)


def _is_own(folder: Path) -> bool:
    """Whether a folder is a slide's own: analysed, read by hand, or asked for its risk."""
    from napari_melanoma.io.slide_depth import DEPTH
    from napari_melanoma.workflows.risks import RISK

    return (folder / STORE).is_dir() or any((folder / name).is_file() for name in (DEPTH, RISK))


def export_results(
    folders: Sequence[Path],
    out: Path,
    formats: Sequence[str],
    *,
    slide: Path | None = None,
    tell: Callable[[Written], None] = lambda written: None,
    run: RunContext,
) -> list[Written]:
    """Write results out."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ConfigError(f"format '{unknown[0]}' is not known. Known are {', '.join(FORMATS)}.")
    if slide is not None and len(folders) > 1:
        raise ConfigError(f"--slide names one slide, but there are {len(folders)} results. Export them one by one.")
    told: list[Written] = []
    work = [(folder, name) for folder in folders for name in formats]
    for done, (folder, name) in enumerate(work):
        run.check()
        run.report(Progress(done, len(work), f"{folder.name}: {FORMATS[name].text}"))
        told.append(_written(folder, name, out, slide, run))
        tell(told[-1])
    run.report(Progress(len(work), len(work), "Written"))
    return told


def _written(folder: Path, name: str, out: Path, slide: Path | None, run: RunContext) -> Written:
    """Write one file."""
    path = out / folder.name / FORMATS[name].name
    try:
        FORMATS[name].write(path, exported(folder, slide), run)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library raises is of this file; the others go on
        return Written(folder, name, path, in_words(error))
    return Written(folder, name, path)
