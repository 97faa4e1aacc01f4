"""One row of a reproduction: its complete recipe, its run, and its judgement on the images that judge all rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.analysis.overlap import METRICS
from napari_melanoma.analysis.refinement import RefinementConfig
from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.splits import drawn_by_name
from napari_melanoma.io.results import read_table, write_rgb, write_table
from napari_melanoma.models.bundle import CONFIG, read_bundle
from napari_melanoma.report.evaluation import Compared, comparison_image
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.evaluate import measure_sample, why_failed
from napari_melanoma.workflows.reproduce_data import JUDGED, LEARN, RoleData, judged_samples
from napari_melanoma.workflows.reproduce_measuring import computing_with
from napari_melanoma.workflows.reproduce_papers import Paper, Row
from napari_melanoma.workflows.reproduce_plan import TABLES_S, Plan, PlannedRow, whole_cycles
from napari_melanoma.workflows.train import train

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.data.dataset import Sample

AS_IT_IS = RefinementConfig(largest_only=False, fill_holes=False, smoothing=0.0, min_area_fraction=0.0)
# P2 keeps the largest contour and fills it.
LARGEST_FILLED = RefinementConfig(largest_only=True, fill_holes=True, smoothing=0.0, min_area_fraction=0.0)
SILENCE_S = 120.0  # events of a run at work are closer than this
PICTURED, PICTURE_PX = 4, 192
PER_IMAGE, JUDGEMENT = "per_image.csv", "judgement.json"


@dataclass(frozen=True)
class Place:
    """Folders of a reproduction.

    Parameters
    ----------
    out : pathlib.Path
        The whole.
    """

    out: Path

    @property
    def plan(self) -> Path:
        """What it does."""
        return self.out / "reproduction.json"

    @property
    def data(self) -> Path:
        """The split."""
        return self.out / "data"

    @property
    def figures(self) -> Path:
        """Pictures."""
        return self.out / "figures"

    def recipe(self, name: str) -> Path:
        """Name the complete recipe of a row.

        Parameters
        ----------
        name : str
            Of a row.

        Returns
        -------
        pathlib.Path
            A TOML file.
        """
        return self.out / "recipes" / f"{name}.toml"

    def run(self, name: str) -> RunFolder:
        """Name the run folder of a row.

        Parameters
        ----------
        name : str
            Of a row that learns.

        Returns
        -------
        RunFolder
            Of its training.
        """
        return RunFolder(self.out / "rows" / name)

    def judged(self, name: str) -> Path:
        """Name the folder of how a row was judged.

        Parameters
        ----------
        name : str
            Of a row.

        Returns
        -------
        pathlib.Path
            Complete where it exists.
        """
        return self.out / "judged" / name


@dataclass(frozen=True)
class Work:
    """A reproduction at work.

    Parameters
    ----------
    paper : Paper
        What is reproduced.
    plan : Plan
        What it does.
    data : mapping
        Role to images.
    place : Place
        Where it writes.
    """

    paper: Paper
    plan: Plan
    data: Mapping[str, RoleData]
    place: Place


def complete_recipe(row: Row, work: Work) -> TrainRecipe:
    """Complete the recipe of a row with data, epochs and what it starts from.

    Parameters
    ----------
    row : Row
        One that learns.
    work : Work
        Budget, epochs, data, and where the models of other rows are.

    Returns
    -------
    TrainRecipe
        The same for all rows in what is learnt from, tuned with and held out.

    Raises
    ------
    ConfigError
        Where a value is none that a recipe may have.
    """
    plan = work.plan
    assert row.file.learn is not None
    values = row.values(plan.budget)
    start = values.get("model", {}).get("start", "none")
    if row.file.start_of:
        start = str(work.place.run(row.file.start_of).bundle)
    elif start in work.paper.file.weights:
        start = plan.weights.get(start, "none")
    more: dict[str, Any] = {
        "data": {
            "datasets": [str(folder) for folder in work.data[row.file.learn].folders],
            "split": LEARN,
            "held_out_split": JUDGED,
        },
        "model": {"start": start},
    }
    epochs = plan.row(row.name).epochs
    if epochs is None:
        return row.recipe(plan.budget, **more)
    recipe = row.recipe(plan.budget, **more, epochs=epochs, patience=epochs)
    if recipe.schedule != "cosine_restarts":
        return recipe
    return recipe.model_copy(update={"cycle_epochs": whole_cycles(recipe, epochs)})


def has_time(work: Work, name: str) -> bool:
    """Say whether there is time for a row, as quick as those that have learnt already.

    Parameters
    ----------
    work : Work
        Its plan, and the runs of the rows before.
    name : str
        Of a row that is about to begin.

    Returns
    -------
    bool
        True for one that has begun, and where no time was named.
    """
    planned, place = work.plan.row(name), work.place
    if work.plan.minutes is None or place.run(name).config.exists():
        return True
    begun = [row for row in work.plan.rows if place.run(row.name).config.exists()]
    learnt = [row for row in begun if row.epochs and (place.run(row.name).bundle / CONFIG).is_file()]
    thought = sum(row.seconds or 0.0 for row in learnt)
    slower = sum(_spent(row, place) for row in learnt) / thought if thought else 1.0
    judged = [row for row in work.plan.rows if row not in begun and place.judged(row.name).is_dir()]
    spent = sum(_spent(row, place) for row in (*begun, *judged)) + work.plan.planning_s
    return spent + slower * (planned.seconds or 0.0) + TABLES_S <= 60 * work.plan.minutes


def _spent(planned: PlannedRow, place: Place) -> float:
    """Seconds that a row took, all its lives together; a longer silence is no work but the time between two lives."""
    times = [event.get("time") for event in place.run(planned.name).read_events()]
    known = [float(time) for time in times if isinstance(time, int | float)]
    silences = [later - earlier for earlier, later in itertools.pairwise(known)]
    return (planned.fixed_s or 0.0) + sum(silence for silence in silences if 0 < silence < SILENCE_S)


def learn(recipe: TrainRecipe, name: str, place: Place, threads: int | None, run: RunContext) -> None:
    """Train the model of a row, or go on where an earlier run of it ended.

    Parameters
    ----------
    recipe : TrainRecipe
        Of the row; where its run has begun, that one's own is followed.
    name : str
        Of the row.
    place : Place
        Gets the recipe and the run folder.
    threads : int or None
        With which its network is quickest here; None: torch's own choice.
    run : RunContext
        Told of the progress, asked whether to go on.

    Raises
    ------
    MelanomaError
        Where the run came to a bad end.
    Cancelled
        Where the user stopped it; it can be resumed.
    """
    folder = place.run(name)
    if (folder.bundle / CONFIG).is_file():
        return
    begun = folder.config.exists()
    recipe = read_toml(folder.config, TrainRecipe) if begun else recipe
    write_toml(place.recipe(name), recipe)
    with computing_with(threads):
        train(recipe, folder.path, resume=begun, run=run, judge=False)


def judge(row: Row, data: RoleData, place: Place, run: RunContext) -> None:
    """Measure the model of a row on the images that judge, and keep a few pictures.

    Parameters
    ----------
    row : Row
        Whose model, or the row's that it names, has been trained.
    data : RoleData
        Of the role that judges it.
    place : Place
        Gets the folder of the judgement, complete or not at all.
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
    from napari_melanoma.inference.photograph import Segmenter

    bundle = read_bundle(place.run(row.file.model_of or row.name).bundle)
    model, refinement = Segmenter.load(bundle), LARGEST_FILLED if row.file.refine else AS_IT_IS
    samples = judged_samples(data)
    pictured = {(sample.domain, sample.image_id) for sample in drawn_by_name(samples, PICTURED)}
    rows: list[dict[str, object]] = []
    failed: dict[str, str] = {}
    with atomic_folder(place.judged(row.name)) as folder:
        for sample in run.track(samples, f"Judging {row.file.title}"):
            try:
                compared, metrics = measure_sample(sample, model, bundle.config.threshold, refinement)
            except Exception as error:  # noqa: BLE001 - named in the judgement; the others go on
                failed[picture_name(sample)] = why_failed(sample, error, place.out)
                continue
            rows.append({**_per_image(sample, metrics), "found": int(compared.mask.any())})
            if (sample.domain, sample.image_id) in pictured:
                name = f"{picture_name(sample)}.png"
                _draw(compared, folder / "pictures" / name, place.figures / "photographs" / name)
        if not rows:
            raise DataSetError(f"none of {len(samples)} images could be measured: {next(iter(failed.values()), '')}")
        write_table(folder / PER_IMAGE, rows)
        facts = {"threshold": bundle.config.threshold, "weights": bundle.fingerprint, "failed": failed}
        write_json(folder / JUDGEMENT, {"row": row.name, "images": len(rows), **facts})


def judged_rows(place: Place, name: str) -> list[dict[str, str]]:
    """Read how a row did on each image.

    Parameters
    ----------
    place : Place
        Of the reproduction.
    name : str
        Of a row that was judged.

    Returns
    -------
    list of dict
        ``image_id``, ``domain``, ``group``, ``diagnosis``, the metrics, and ``found`` (0: no pixel is lesion), as text.

    Raises
    ------
    InputError
        Where it cannot be read.
    """
    return read_table(place.judged(name) / PER_IMAGE)


def _per_image(sample: Sample, metrics: Mapping[str, float]) -> dict[str, object]:
    """Row of ``per_image.csv``."""
    about = {name: getattr(sample, name) for name in ("image_id", "domain", "group", "diagnosis")}
    return {**about, **{name: metrics[name] for name in METRICS}}


def picture_name(sample: Sample) -> str:
    """Name the picture of an image: images of two data sets may have one name.

    Parameters
    ----------
    sample : Sample
        The image.

    Returns
    -------
    str
        A path below the folder of pictures, without an ending.
    """
    return f"{sample.domain}/{sample.image_id}"


def _draw(compared: Compared, path: Path, photograph: Path) -> None:
    """Keep the comparison with the reference, small, and the photograph once for all rows."""
    write_rgb(path, _small(comparison_image(compared.mask, compared.reference)))
    if not photograph.exists():
        write_rgb(photograph, _small(compared.rgb))


def _small(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a picture, colours unmixed."""
    step = max(1, -(-max(rgb.shape[:2]) // PICTURE_PX))
    return rgb[::step, ::step]


def pictures_of(folder: Path, names: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """Read the pictures of a row.

    Parameters
    ----------
    folder : pathlib.Path
        With PNG files.
    names : sequence of str
        Of the images.

    Returns
    -------
    dict
        Name to uint8 (row, column, channel), of those that are there.
    """
    import numpy as np
    from PIL import Image

    found = {}
    for name in names:
        path = folder / f"{name}.png"
        if path.is_file():
            with Image.open(path) as image:
                found[name] = np.asarray(image.convert("RGB"))
    return found
