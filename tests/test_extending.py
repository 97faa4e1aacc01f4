"""The examples of docs/how-to/extending.md: each, put where the page says, is found and works."""

from __future__ import annotations

import re
import sys
from importlib import invalidate_caches
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core import plugins
from napari_melanoma.core.context import RunContext
from napari_melanoma.data import source_catalog, sources
from napari_melanoma.data.dataset_import import import_source
from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.io.results import read_table, write_rgb
from napari_melanoma.models import zoo
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.training import losses
from napari_melanoma.training.recipe import TrainRecipe

PAGE = Path(__file__).resolve().parent.parent / "docs/how-to/extending.md"
FILES = re.compile(r"^`src/napari_melanoma/(\S+)/(\w+\.py)`:\n\n```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXAMPLES = {folder: (name, code) for folder, name, code in FILES.findall(PAGE.read_text(encoding="utf-8"))}
FUNCTIONS = re.compile(r"^In `src/napari_melanoma/(\S+)`:\n\n```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

MODEL = {"architecture": "fully_convolutional", "start": "none", "input_size": 32}
STEPS = 12


@pytest.fixture
def added(tmp_path, monkeypatch):
    """Puts the example of a folder beside the folder's own files, for this test alone."""

    def add(package, folder, example=None):
        name, code = example or EXAMPLES[folder]
        place = tmp_path / folder
        place.mkdir(parents=True)
        (place / name).write_text(code, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(place)])
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{Path(name).stem}", raising=False)
        invalidate_caches()
        plugins.refresh()

    yield add
    monkeypatch.undo()
    plugins.refresh()


def losses_of_training(model, **values):
    """Train a network of the zoo for some steps on dark squares, as a run does; the loss before each step."""
    import torch

    from napari_melanoma.training.tasks.segmentation import SegmentationTask
    from napari_melanoma.training.tasks.task import OPTIMIZERS

    recipe = TrainRecipe.parse({"data": {"datasets": ["a"]}, "model": model, **values}, "the test")
    torch.manual_seed(0)
    network = zoo.build_network(recipe.model.architecture, recipe.model.options)
    task = SegmentationTask(network, recipe, BundleConfig(name="x", title="x", architecture=recipe.model.architecture))
    optimiser = OPTIMIZERS[recipe.optimiser]([{"params": list(task.parameters()), "lr": 0.01}], recipe.weight_decay)
    masks = torch.zeros(4, 1, 32, 32, dtype=torch.uint8)
    for item, mask in enumerate(masks):
        mask[:, 4 + 2 * item : 20 + 2 * item, 6:24] = 255
    images = (255 - masks // 2).expand(-1, 3, -1, -1)
    found = []
    for step in range(STEPS):
        optimiser.zero_grad()
        loss = task.training_step((images, masks, torch.zeros(4, 2)), step)
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    return found


def test_a_network_learns(added):
    import torch

    added(zoo, "models/zoo")
    network = zoo.build_network("fully_convolutional", {"channels": 8})
    assert network(torch.zeros(1, 3, 70, 50)).shape == (1, 1, 70, 50)
    losses_found = losses_of_training({**MODEL, "options": {"channels": 8}})
    assert losses_found[-1] < 0.7 * losses_found[0]


def test_added_loss_is_found_and_decreases_with_the_error(added, monkeypatch):
    import torch

    added(zoo, "models/zoo")
    ((path, code),) = FUNCTIONS.findall(PAGE.read_text(encoding="utf-8"))
    assert path == "training/losses.py"
    exec(code, scope := {**vars(losses)})
    monkeypatch.setattr(losses, "log_cosh_dice", scope["log_cosh_dice"], raising=False)
    plugins.refresh()
    target = torch.ones(2, 1, 8, 8)
    right, wrong = (losses.make_loss("log_cosh_dice")(sign * 20 * target, target) for sign in (1, -1))
    assert 0 <= right < 1e-6 < wrong
    losses_found = losses_of_training({**MODEL, "options": {"channels": 8}}, loss="log_cosh_dice")
    assert losses_found[-1] < 0.7 * losses_found[0]


def test_a_data_set(added, tmp_path):
    added(sources, "data/sources")
    for path in ("melanoma/12.jpg", "naevus/12.jpg", "naevus/7.jpg"):
        write_rgb(tmp_path / "set" / path, np.full((8, 8, 3), 90, np.uint8))
    found = source_catalog.list_sources()["med_node"].read_folder(tmp_path / "set")
    assert {record.image_id: harmonize_rows([record.values]).rows[0]["diagnosis"] for record in found.importable} == {
        "melanoma_12": "melanoma",
        "naevus_12": "nevus",
        "naevus_7": "nevus",
    }


DERM7PT = (
    "derm7pt.py",
    '''"""The seven-point checklist set: a clinical and a dermoscopic image of each case, and a table of criteria."""

from napari_melanoma.data.source_records import read_table_rows
from napari_melanoma.data.table_mapping import strip_image_suffix
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec

SPEC = SourceSpec(
    name="derm7pt",
    title="the seven-point checklist data set",
    licence="research and education only, on request",
    url="https://derm.cs.sfu.ca",
    modality="",
    reference="Kawahara et al. 2019, doi:10.1109/JBHI.2018.2824327",
    layout="images/<folder>/*.jpg (2022), meta/meta.csv",
    images=2022,
)
KINDS = {"clinic": "macroscopic", "derm": "dermoscopic"}


def find(tree):
    images = {file.name.rpartition("images/")[2].lower(): file for file in tree.files}
    records = []
    for row in read_table_rows(tree, r"meta\\.csv"):
        case = {name: text for name, text in row.items() if name not in ("case_num", *KINDS)}
        for column, modality in KINDS.items():
            values = {**case, "lesion_id": row["case_num"], "modality": modality}
            records.append(SourceRecord(strip_image_suffix(row[column]), images.get(row[column].lower()), None, values))
    return sorted(records, key=lambda record: record.image_id)
''',
)


def test_new_public_data_set_needs_one_file(added, tmp_path):
    """Derm7pt, which is not among the sources: as its archive is laid out, and its table alone."""
    added(sources, "data/sources", DERM7PT)
    meta = tmp_path / "release_v0/meta/meta.csv"
    meta.parent.mkdir(parents=True)
    meta.write_text(
        "case_num,diagnosis,pigment_network,location,sex,clinic,derm\n"
        "1,melanoma (less than 0.76 mm),atypical,lower limbs,female,NEL/NEL027.JPG,NEL/Nel028.jpg\n"
        "2,reed or spitz nevus,typical,back,male,NFL/Nfl001.jpg,NFL/Nfl002.jpg\n"
    )
    source = source_catalog.find_source("derm7pt")
    report = import_source(source, tmp_path / "release_v0", tmp_path / "table", run=RunContext())
    assert (report.rows, report.images, report.notes) == (4, 0, [])
    for name in ("NEL/NEL027.JPG", "NEL/NEL028.JPG"):
        write_rgb(tmp_path / f"release_v0/images/{name}", np.full((16, 16, 3), 90, np.uint8))
    report = import_source(source, tmp_path / "release_v0", tmp_path / "images", run=RunContext())
    assert (report.rows, report.images, report.left) == (2, 2, 2)
    clinical, dermoscopic = read_table(tmp_path / "images/dataset.csv")
    assert (clinical["modality"], dermoscopic["modality"]) == ("macroscopic", "dermoscopic")
    assert clinical["lesion_id"] == dermoscopic["lesion_id"] == "1"
    told = {name: clinical[name] for name in ("source", "diagnosis", "melanoma", "site", "sex", "pigment_network")}
    assert told == {
        "source": "derm7pt",
        "diagnosis": "melanoma",
        "melanoma": "1",
        "site": "lower extremity",
        "sex": "female",
        "pigment_network": "atypical",
    }


def test_the_page_has_examples_of_files_and_names_the_arguments_of_their_functions():
    assert set(EXAMPLES) == {"models/zoo", "data/sources"}
    named = set(re.findall(r"`((?:build|find)\(.*?\))`", PAGE.read_text(encoding="utf-8")))
    functions = {
        *(known.build for known in zoo.list_architectures().values()),
        *(known.find_records for known in source_catalog.list_sources().values()),
    }
    assert named == {f"{each.__name__}({', '.join(signature(each).parameters)})" for each in functions}
