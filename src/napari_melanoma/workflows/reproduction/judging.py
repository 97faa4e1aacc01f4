"""The judgement of a row: its model measured on the images that judge all rows, and a few of its answers kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.file_names import file_name
from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.splits import drawn_by_name
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.workflows.evaluate import why_failed
from napari_melanoma.workflows.reproduction.kinds import Subject
from napari_melanoma.workflows.reproduction.papers import Row
from napari_melanoma.workflows.reproduction.place import Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.data.dataset import Sample

PICTURED, PICTURE_PX = 4, 192
ABOUT = ("image_id", "domain", "group", "diagnosis")


@dataclass(frozen=True)
class Judgement:
    """Rows of ``per_image.csv``, and images that could not be measured, with why."""

    rows: list[dict[str, object]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def judge(work: Work, row: Row, run: RunContext) -> None:
    """Measure the model of a row on the images that judge, and keep a few pictures."""
    place, maker = work.place.row(row.name), row.file.model_of or row.name
    bundle, data = read_bundle(work.place.row(maker).run.bundle), work.data[row.file.judged]
    samples = data.judging
    pictured = {name_of(sample) for sample in drawn_by_name(samples, PICTURED)}
    with atomic_folder(place.judged) as folder:
        subject = Subject(row, bundle, data.folders)
        found = measure_all(work, subject, samples, (pictured, folder / place.pictures.name), run)
        write_table(folder / place.per_image.name, found.rows)
        facts = {"threshold": bundle.config.threshold, "weights": bundle.fingerprint, "failed": found.failed}
        write_json(folder / place.judgement.name, {"row": row.name, "images": len(found.rows), **facts})


def measure_all(
    work: Work, subject: Subject, samples: Sequence[Sample], pictured: tuple[Collection[str], Path], run: RunContext
) -> Judgement:
    """Measure a model on images; those that cannot be measured are named, and the others go on."""
    row, found, (names, pictures) = subject.row, Judgement(), pictured
    measure = row.kind.measuring(subject)
    for sample in run.track(samples, f"Judging {row.file.title}"):
        name = name_of(sample)
        try:
            measured = measure(sample)
        except Exception as error:  # noqa: BLE001 - named in the judgement; the others go on
            found.failed[name] = why_failed(sample, error, work.place.out)
            continue
        found.rows.append({**{column: getattr(sample, column) for column in ABOUT}, **measured.figures})
        if name in names:
            _keep(measured.picture(), _picture(pictures, name))
            _keep(measured.photograph(), _picture(work.place.photographs, name))
    if not found.rows:
        raise DataSetError(f"none of {len(samples)} images could be measured: {next(iter(found.failed.values()), '')}")
    return found


def read_pictures(folder: Path, samples: Sequence[Sample]) -> dict[str, NDArray[np.uint8]]:
    """Read the pictures of a row, or the photographs.

    Name to uint8 (row, column, channel), of those that are there.
    """
    paths: Mapping[str, Path] = {name_of(sample): _picture(folder, name_of(sample)) for sample in samples}
    return {name: read_photograph(path).rgb for name, path in paths.items() if path.is_file()}


def name_of(sample: Sample) -> str:
    """Name an image: images of two data sets may have one name."""
    return f"{sample.domain}/{sample.image_id}"


def _picture(folder: Path, name: str) -> Path:
    """Name the file of a picture."""
    domain, _, image_id = name.partition("/")
    return folder / file_name(domain) / f"{file_name(image_id)}.png"


def _keep(rgb: NDArray[np.uint8], path: Path) -> None:
    """Write a picture small, colours unmixed; that of a photograph is there once for all rows."""
    if not path.exists():
        step = max(1, -(-max(rgb.shape[:2]) // PICTURE_PX))
        write_rgb(path, rgb[::step, ::step])
