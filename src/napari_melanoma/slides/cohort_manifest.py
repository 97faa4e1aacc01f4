"""The manifest of a cohort run, ``cohort.json``: the settings of the run, and the state of each slide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

from napari_melanoma.core.errors import BundleError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.io.results import RESULT
from napari_melanoma.slides.cohort_cluster import CohortJob, CohortJobResult, failed_row
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.slide_table import SlideTable

POSTPROCESSING_KEYS = ("lesions", "score", "target", "prevalence")  # applied to finished tiles
MANIFEST, VERSION = "cohort.json", 1

EntryState = Literal["waiting", "running", "done", "failed"]
SettingsDict = dict[str, Any]


@dataclass(frozen=True)
class CohortSettings:
    """Settings that the results of a cohort depend on, by name.

    ``tiles``: for predicting tiles; they must not change within a cohort. ``results``: for computing results from
    tiles; if they change, results are computed again.
    """

    tiles: SettingsDict
    results: SettingsDict


def cohort_settings(options: SlideOptions) -> CohortSettings:
    """Return the settings that the results of a cohort depend on, as JSON values; files by their names."""
    results = options.model_dump(mode="json", include=set(POSTPROCESSING_KEYS))
    return CohortSettings({**options.tile_settings, **_model_identity(options), **_option_file_names(options)}, results)


def _option_file_names(options: SlideOptions) -> dict[str, Any]:
    files = {"weights": options.weights, "tissue_mask": options.tissue_mask, "stain_reference": options.stain_reference}
    return {name: path.name for name, path in files.items() if path is not None}


def _model_identity(options: SlideOptions) -> dict[str, Any]:
    """Return the name of the model, and the hash of a bundle, whose content may change under the same name."""
    from napari_melanoma.models import DEFAULT_TILE_MODEL
    from napari_melanoma.models.installed_bundles import find_bundle

    name = options.model or DEFAULT_TILE_MODEL
    try:
        bundle = find_bundle(name)
    except BundleError:  # an encoder, or an unknown name, which loading reports
        return {"model": name}
    return {"model": bundle.name, "model_weights": bundle.fingerprint[:16]}


@dataclass(frozen=True)
class CohortEntry:
    """State of one slide in a cohort.

    ``slide``: name of the result folder. ``file``: name of the slide file. ``seconds``: duration of all attempts.
    ``changed``: time of the last change, UTC.
    """

    slide: str
    file: str
    state: EntryState = "waiting"
    seconds: float = 0.0
    error: str = ""
    changed: str = ""


class CohortManifest:
    """The manifest file: settings, and an entry for each slide by the name of the result folder."""

    def __init__(self, path: Path, settings: CohortSettings, entries: Mapping[str, CohortEntry]) -> None:
        self.path, self.settings = path, settings
        self.entries = dict(entries)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a manifest; None if there is none."""
        if not path.exists():
            return None
        try:
            content = read_json(path)
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']}")
            entries = [CohortEntry(**slide) for slide in content["slides"]]
            if unknown := {entry.state for entry in entries} - set(get_args(EntryState)):
                raise ValueError(f"state {', '.join(sorted(unknown))}")
            settings = CohortSettings(content["settings"]["tiles"], content["settings"]["results"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is not a valid cohort manifest for this version ({parse_error_reason(error)}). Move it away, "
                "choose another folder, or start over with --force."
            ) from error
        return cls(path, settings, {entry.slide: entry for entry in entries})

    def check_settings(self, settings: CohortSettings) -> None:
        """Raise RunError if the settings for predicting tiles differ."""
        stored, requested = _flatten_settings(self.settings.tiles), _flatten_settings(settings.tiles)
        names = [name for name in dict.fromkeys([*stored, *requested]) if stored.get(name) != requested.get(name)]
        if names:
            differences = "; ".join(
                f"{name} was {_format_value(stored.get(name))}, now {_format_value(requested.get(name))}"
                for name in names
            )
            raise RunError(
                f"{self.path} was written with other settings: {differences}. Use the same settings, choose another "
                "folder, or start "
                "over with --force."
            )

    def start_entries(self, entries: Iterable[CohortEntry]) -> list[CohortEntry]:
        """Set the slides of a run to waiting unless they are done; entries of other slides are kept.

        Returns the current entries in the same order.
        """
        current = []
        for entry in entries:
            before = self.entries.get(entry.slide)
            is_done = before is not None and before.state == "done"
            current.append(before if before is not None and is_done else replace(entry, changed=utc_time()))
        self.entries |= {entry.slide: entry for entry in current}
        self.write()
        return current

    def put(self, entry: CohortEntry) -> CohortEntry:
        """Replace an entry, and write the manifest; return the entry with rounded seconds and the current time."""
        changed = replace(entry, seconds=round(entry.seconds, 2), changed=utc_time())
        self.entries[entry.slide] = changed
        self.write()
        return changed

    def write(self) -> None:
        slides = [asdict(self.entries[name]) for name in sorted(self.entries)]
        write_json(self.path, {"version": VERSION, "settings": asdict(self.settings), "slides": slides})


def _flatten_settings(settings: SettingsDict, prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their full names, joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flatten_settings(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _format_value(value: object) -> str:
    return "not given" if value is None or value == "" else str(value)


EntryCallback = Callable[[CohortEntry], None]


def ignore_entry(entry: CohortEntry) -> None:
    """Do nothing; the default callback."""


@dataclass(frozen=True)
class CohortRecords:
    """Manifest and table of a cohort, which are updated together; ``on_change`` is called with each changed entry."""

    manifest: CohortManifest
    table: SlideTable
    on_change: EntryCallback = ignore_entry

    def update(self, job: CohortJob, **values: Any) -> None:  # noqa: ANN401 - fields of an entry
        """Change the entry of a slide."""
        self.on_change(self.manifest.put(replace(self.manifest.entries[job.folder.name], **values)))

    def finish(self, job: CohortJob, result: CohortJobResult, **values: Any) -> None:  # noqa: ANN401 - fields of an entry
        self.table.put_row(failed_row(job, result.error) if result.error else result.row)
        self.update(job, state="failed" if result.error else "done", error=result.error, **values)


def open_manifest(path: Path, settings: CohortSettings, *, force: bool) -> CohortManifest:
    """Open or create a manifest; slides whose results are missing or outdated are set to waiting.

    ``force``: start over with an empty manifest.
    """
    manifest = None if force else CohortManifest.read(path)
    if manifest is None:
        return CohortManifest(path, settings, {})
    manifest.check_settings(settings)
    same = manifest.settings.results == settings.results

    def updated(entry: CohortEntry) -> CohortEntry:
        done = entry.state == "done" and same and (path.parent / entry.slide / RESULT).is_file()
        return entry if done or entry.state == "failed" else replace(entry, state="waiting")

    return CohortManifest(path, settings, {name: updated(entry) for name, entry in manifest.entries.items()})
