"""Images, slides, data sets and folders named in another order give the same files.

The subjects are all parameters of the command line that accept several values: a new one fails until it has a scenario
here, or the reason why its order has a meaning.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import world
from product_commands import list_repeated_parameters, normalize, read_outputs


class Scenario(NamedTuple):
    """Words of a command, with ``{}`` in place of the values; ``values``: in one order, each of one or more words."""

    words: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    slow: bool = False


def options(name: str, *values: str) -> tuple[tuple[str, ...], ...]:
    return tuple((name, value) for value in values)


def paired(name: str, *values: str) -> tuple[tuple[str, ...], ...]:
    """Slides with a file each, ``a.tif`` with ``a.geojson``."""
    return tuple((f"slides/{value}.tif", name, f"slides/{value}.geojson") for value in values)


SLIDES = (("slides/a.tif",), ("slides/b.tif",))
SETS = (("one",), ("two",))
FIT = ("--sources", "texture", "--kind", "logistic")
SCENARIOS: dict[str, Scenario] = {
    "lesion images": Scenario(
        ("lesion", "{}", "--out", "out"), (("one/images/x00.png",), ("one/images/x01.png",), ("two/images/x20.png",))
    ),
    "lesion click": Scenario(
        ("lesion", "one/images/x00.png", "--out", "out", "{}"), options("--click", "60,46", "66,50", "55,40")
    ),
    "lesion exclude": Scenario(
        ("lesion", "one/images/x00.png", "--out", "out", "--click", "60,46", "{}"),
        options("--exclude", "5,5", "120,90"),
    ),
    "slide slides": Scenario(("slide", "{}", "--out", "out", "--model", "tissue"), SLIDES, slow=True),
    "tissue apply slides": Scenario(("tissue", "apply", "{}", "--out", "out", "--model", "tissue"), SLIDES, slow=True),
    "tissue fit slides": Scenario(("tissue", "fit", "{}", "--out", "out", *FIT), SLIDES, slow=True),
    "tissue fit strokes": Scenario(
        ("tissue", "fit", "{}", "--out", "out", *FIT), paired("--strokes", "a", "b"), slow=True
    ),
    "data tiles slides": Scenario(("data", "tiles", "{}", "--regions", "regions", "--out", "out"), SLIDES),
    "data tiles regions": Scenario(
        ("data", "tiles", "{}", "--out", "out"),
        tuple((f"slides/{one}.tif", "--regions", f"regions/{one}.geojson") for one in "ab"),
    ),
    "data slides slides": Scenario(("data", "slides", "{}", "--table", "slides.csv", "--out", "out"), SLIDES),
    "data merge datasets": Scenario(("data", "merge", "{}", "--out", "out"), SETS),
    "data duplicates datasets": Scenario(("data", "duplicates", "{}", "--out", "out/pairs.csv"), SETS),
    "evaluate data": Scenario(
        ("evaluate", "--model", "lesion-small", "{}", "--out", "out"), options("--data", "one", "two"), slow=True
    ),
    "compare data": Scenario(
        ("compare", "--model", "lesion-small", "--model", "TINY", "{}", "--out", "out"),
        options("--data", "one", "two"),
        slow=True,
    ),
    "audit paths": Scenario(("audit", "{}"), (("one",), ("two",))),
    "export results": Scenario(
        ("export", "{}", "--out", "out", "--to", "geojson,csv,tiles"), (("results/a",), ("results/b",)), slow=True
    ),
    "studies relation results": Scenario(
        ("studies", "relation", "{}", "--out", "out", "--include-invalid"), (("results/a",), ("results/b",)), slow=True
    ),
}
OTHERS = {
    "open paths": "opens a window",
    "report paths": "the order is that of the pages",
    "case sources": "images are numbered in the order in which they are named",
    "data report datasets": "the data sets are listed in the order in which they are named",
    "compare runs": "each run is compared for itself",
    "compare model": "the first is the old model",
    "compare replay": "read as the data sets",
    "evaluate pointing": "each method is measured for itself",
    "risk cases": "each slide is predicted for itself",
    "risk heatmap": "each method has files of its own",
    "risk model": "fused in a sum; tested with the extension",
    "train set_": "the last value of a key applies",
    "recipes write data": "the order is kept in the recipe; training does not depend on it",
    "recipes write replay": "the order is kept in the recipe",
    "reproduce data": "each has the name of its role",
    "reproduce labels": "each has a name",
    "reproduce weights": "each has a name",
    "reproduce rows": "rows have the order of the paper",
    "data export classes": "each has a name",
    "data import classes": "each has a name",
    "data import-masks classes": "each has a name",
    "data tiles classes": "each has a name",
    "tissue fit sources": "the preferred one is first",
    "tissue fit kinds": "tested with the classifiers",
    "tissue fit role": "each has a name",
    "tissue train slides": "read as those of tissue fit",
    "tissue train strokes": "read as those of tissue fit",
    "studies readings folders": "the readers are ordered by name",
    "studies readings reader": "the difference is that of the second from the first",
    "studies biomarkers data": "read as the data sets of evaluate",
}


def test_every_parameter_is_a_subject() -> None:
    found = {f"{one.command} {one.parameter}" for one in list_repeated_parameters()}
    assert found == {*SCENARIOS, *OTHERS}


@pytest.fixture(scope="module")
def files(slides: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the scenarios name."""
    folder = tmp_path_factory.mktemp("files")
    world.write_dataset(folder / "one", 6)
    world.write_dataset(folder / "two", 6, first=20)
    (folder / "slides").symlink_to(slides[0].parent)
    (folder / "regions").mkdir()
    for name, seed in (("a", 0), ("b", 3)):
        world.write_regions(folder / f"regions/{name}.geojson", seed)
    lines = ["slide,patient_id,melanoma", "a.tif,P1,1", "b.tif,P2,0"]
    (folder / "slides.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if one.slow else ()) for name, one in SCENARIOS.items()]
)
@pytest.mark.slow
def test_the_order_of_arguments_changes_no_result(
    name: str, files: Path, tmp_path: Path, call: Callable[..., str], request: pytest.FixtureRequest
) -> None:
    scenario, found = SCENARIOS[name], []
    models = {"tissue": "tissue_model", "results": "analyzed"}
    arguments = (*scenario.words[len(name.split()) - 1 :], *sum(scenario.values, ()))  # without the command
    for word in {text for word in arguments for text in models if text in word}:
        if not (files / word).exists():
            (files / word).symlink_to(request.getfixturevalue(models[word]))
    for number, values in enumerate((scenario.values, scenario.values[::-1])):
        folder = shutil.copytree(files, tmp_path / str(number))
        placed = [word for part in scenario.words for word in (sum(values, ()) if part == "{}" else (part,))]
        if "TINY" in placed:
            placed[placed.index("TINY")] = str(request.getfixturevalue("tiny_bundle").path)
        names = {str(folder): ""}
        output = call(*placed, "--json", at=folder)
        lines = [json.loads(line) for line in output.splitlines()]
        printed = normalize([line for line in lines if line.get("event") not in ("progress", "image", "slide")], names)
        found.append((printed, read_outputs(folder / "out", names) if (folder / "out").exists() else {}))
    assert found[1][1] == found[0][1]
    assert found[1][0] == found[0][0]
