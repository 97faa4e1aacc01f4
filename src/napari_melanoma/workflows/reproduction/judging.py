"""The judgement of a row: its model measured on the images that judge all rows, and a few of its answers kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.splits import drawn_by_name
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.workflows.evaluate import why_failed
from napari_melanoma.workflows.reproduction.papers import Row
from napari_melanoma.workflows.reproduction.place import Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.data.dataset import Sample

PICTURED, PICTURE_PX = 4, 192


def judge(work: Work, row: Row, run: RunContext) -> None:
    """Measure the model of a row on the images that judge, and keep a few pictures.

    Parameters
    ----------
    work : Work
        Its folder gets the judgement, complete or not at all.
    row : Row
        Whose model, or the row's that it names, has been trained.
    run : RunContext
        Told of the progress, asked whether to go on.

    Raises
    ------
    DataSetError
        Where no image could be measured.
    BundleError
        Where the model is damaged.
    Cancelled
        Where the user stopped it; nothing was written.
    """
    place, maker = work.place.row(row.name), row.file.model_of or row.name
    bundle = read_bundle(work.place.row(maker).run.bundle)
    measure, samples = row.kind.measuring(bundle, row), work.data[row.file.judged].judging
    pictured = {_name(sample) for sample in drawn_by_name(samples, PICTURED)}
    rows, failed = list[dict[str, object]](), dict[str, str]()
    with atomic_folder(place.judged) as folder:
        for sample in run.track(samples, f"Judging {row.file.title}"):
            name = _name(sample)
            try:
                measured = measure(sample)
            except Exception as error:  # noqa: BLE001 - named in the judgement; the others go on
                failed[name] = why_failed(sample, error, work.place.out)
                continue
            about = {column: getattr(sample, column) for column in ("image_id", "domain", "group", "diagnosis")}
            rows.append({**about, **measured.figures})
            if name in pictured:
                _keep(measured.picture(), _picture(folder / place.pictures.name, name))
                _keep(measured.photograph, _picture(work.place.photographs, name))
        if not rows:
            raise DataSetError(f"none of {len(samples)} images could be measured: {next(iter(failed.values()), '')}")
        write_table(folder / place.per_image.name, rows)
        facts = {"threshold": bundle.config.threshold, "weights": bundle.fingerprint, "failed": failed}
        write_json(folder / place.judgement.name, {"row": row.name, "images": len(rows), **facts})


def read_pictures(folder: Path, samples: Sequence[Sample]) -> dict[str, NDArray[np.uint8]]:
    """Read the pictures of a row, or the photographs.

    Parameters
    ----------
    folder : pathlib.Path
        With PNG files.
    samples : sequence of Sample
        Images, of which some are pictured.

    Returns
    -------
    dict
        Name to uint8 (row, column, channel), of those that are there.
    """
    paths = {_name(sample): _picture(folder, _name(sample)) for sample in samples}
    return {name: read_photograph(path).rgb for name, path in paths.items() if path.is_file()}


def _name(sample: Sample) -> str:
    """Name an image: images of two data sets may have one name."""
    return f"{sample.domain}/{sample.image_id}"


def _picture(folder: Path, name: str) -> Path:
    """Name the file of a picture."""
    return folder / f"{name}.png"


def _keep(rgb: NDArray[np.uint8], path: Path) -> None:
    """Write a picture small, colours unmixed; that of a photograph is there once for all rows."""
    if not path.exists():
        step = max(1, -(-max(rgb.shape[:2]) // PICTURE_PX))
        write_rgb(path, rgb[::step, ::step])
