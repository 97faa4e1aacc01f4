"""The example ``examples/plugin``: a package outside the tree is installed, and each of its objects works."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from dataclasses import replace
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_slides import FakeAnalysis, draw_slide
from typer.testing import CliRunner

from napari_melanoma import doctor
from napari_melanoma.cli import app
from napari_melanoma.core import plugins
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.data.collections import SOURCES, find_source
from napari_melanoma.data.dataset_import import import_source
from napari_melanoma.data.exports import DATA_EXPORTS, DataExportOptions, export_dataset
from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.figures.page import render_report
from napari_melanoma.io.results import read_table, write_mask, write_rgb, write_table
from napari_melanoma.metrics.mask_metrics import METRICS, list_mask_metrics, measure_mask
from napari_melanoma.metrics.metric_table import BAND_METRICS
from napari_melanoma.models.zoo import NETWORKS, build_network
from napari_melanoma.reports.case_report import collect_report
from napari_melanoma.reports.export_formats import EXPORTS
from napari_melanoma.reports.report_sections import REPORT_SECTIONS, ReportSection
from napari_melanoma.reports.slide_export import WRITERS, export_results
from napari_melanoma.training.augmentation import BatchAugmentation
from napari_melanoma.training.augmentation_config import AUGMENTATIONS, AugmentationConfig
from napari_melanoma.training.losses import LOSSES, make_class_loss, make_loss
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.schedules import SCHEDULES, ScheduleSteps
from napari_melanoma.ui.sections import LESION_SECTIONS, SECTIONS
from napari_melanoma.ui.sections.base import LesionSection, PhotographSection, SlideSection

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "examples/plugin"
PACKAGE, MODULE = "melanoma-example", "melanoma_example"
ADDED = {
    "networks": "fully_convolutional",
    "losses": "log_cosh_dice",
    "schedules": "linear",
    "augmentations": "red_cast",
    "data_sources": "med_node",
    "data_exports": "boxes",
    "metrics": "area_error",
    "exports": "areas",
    "report_sections": "tiles",
    "sections": "Strokes",
    "lesion_sections": "Images",
}


def blobs(folder: Path, count: int = 12) -> Path:
    """Write a data set whose lesions are dark squares."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        mask = np.zeros((48, 48), bool)
        mask[4 + number : 28 + number, 6:30] = True
        image = np.where(mask[..., None], 80, 200) + rng.normal(0, 6, (48, 48, 3))
        write_rgb(folder / f"images/b{number:02}.png", image.clip(0, 255).astype(np.uint8))
        write_mask(folder / f"masks/b{number:02}.png", mask)
        split = "train" if number < count - 4 else "val" if number < count - 2 else "test"
        rows.append({"image_id": f"b{number:02}", "patient_id": f"p{number}", "split": split})
    write_table(folder / "dataset.csv", rows)
    return folder


def make_recipe(dataset: Path) -> TrainRecipe:
    """A run of two steps with everything that the example adds."""
    return TrainRecipe.parse(
        {
            "name": "example",
            "data": {"datasets": [str(dataset)], "cache_size": 48},
            "model": {
                "architecture": "fully_convolutional",
                "options": {"channels": 4, "levels": 2},
                "start": "none",
                "input_size": 32,
            },
            "augmentation": {"plugins": {"red_cast": 1.0}},
            "loss": "log_cosh_dice",
            "schedule": "linear",
            "epochs": 1,
            "batch_size": 4,
            "device": "cpu",
        },
        "the test",
    )


@pytest.mark.slow
def test_every_family_has_the_object_and_names_its_package(installed_plugin: Path) -> None:
    pytest.importorskip("qtpy")
    assert {*ADDED, "commands", "recipes"} == set(plugins.FAMILIES)
    for family, name in ADDED.items():
        found = plugins.find_family(family)
        assert not found.errors
        assert name in found.members
        assert found.label(name).endswith(f"({PACKAGE})")


@pytest.mark.slow
def test_training_evaluation_and_the_bundle_of_a_plugin(
    installed_plugin: Path, tmp_path: Path, user_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.evaluation.masks import EvaluationOptions, evaluate_masks
    from napari_melanoma.lesion.loaded_models import load_segmenter
    from napari_melanoma.models.bundle import load_network, read_bundle
    from napari_melanoma.runs.train import train

    dataset = blobs(tmp_path / "blobs")
    info = train(make_recipe(dataset), tmp_path / "run", resume=False, run=RunContext())
    assert info is not None
    steps = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    assert next(event["loss"] for event in steps if event["kind"] == "epoch") > 0
    assert (tmp_path / "run/config.toml").read_text().count("red_cast = 1.0") == 1

    config = read_bundle(info.path).config
    assert config.plugin is not None
    assert (config.plugin.package, config.plugin.version) == (PACKAGE, "1.0")
    assert config.plugin.entry_point == "napari_melanoma.networks: fully_convolutional = melanoma_example.network"
    assert config.provenance["plugins"] == {PACKAGE: "1.0"}

    evaluate_masks(
        load_segmenter(str(info.path)),
        [dataset],
        tmp_path / "out",
        EvaluationOptions(include_seen=True),
        run=RunContext(),
    )
    figures = json.loads((tmp_path / "out/metrics.json").read_text())
    assert figures["metrics"]["all"]["area_error"]["mean"] >= 0
    assert "area error (lower is better)" in (tmp_path / "out/summary.html").read_text(encoding="utf-8")
    assert float(read_table(tmp_path / "out/per_image.csv")[0]["area_error"]) >= 0

    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(installed_plugin)])
    plugins.refresh()
    with pytest.raises(BundleError, match=r"install it: pip install melanoma-example==1\.0$"):
        load_network(read_bundle(info.path))


def test_a_missing_plugin_is_named_by_its_bundle_and_recipe(tmp_path: Path) -> None:
    from napari_melanoma.models.bundle import PluginReference, explain_missing_network

    entry_point = "napari_melanoma.networks: other = mine"
    package = PluginReference(package="my-package", version="2.1", entry_point=entry_point)
    assert "If you trust its authors, install it: pip install my-package==2.1" in explain_missing_network(
        "other", package
    )
    with pytest.raises(ConfigError, match="package"):
        PluginReference.parse({**package.model_dump(), "package": "--index-url=http://x y"}, "the bundle")
    with pytest.raises(ConfigError, match="no such name"):
        make_recipe(tmp_path)


def test_the_export(installed_plugin: Path, tmp_path: Path) -> None:
    slide = draw_slide(tmp_path / "section.tif")
    FakeAnalysis(tmp_path / "results/section", slide, "a").begins().finishes()
    (file,) = export_results([tmp_path / "results/section"], tmp_path / "out", ["areas"], run=RunContext())
    assert not file.error
    lines = (tmp_path / "out/section/areas.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]


def test_help_and_lists_name_the_package(installed_plugin: Path) -> None:
    runner = CliRunner()
    assert f"Areas of lesions (text) ({PACKAGE})" in runner.invoke(app, ["export", "--help"]).output
    assert re.search(rf"^fully_convolutional .* \({PACKAGE}\)", runner.invoke(app, ["models", "list"]).output, re.M)
    assert f"med_node: MED-NODE ({PACKAGE})" in runner.invoke(app, ["data", "sources"]).output


@pytest.mark.slow
def test_doctor_lists_what_is_installed_and_what_is_broken(
    installed_plugin: Path, tmp_path: Path, user_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(installed_plugin, broken)
    (broken / MODULE / "metric.py").write_text("area_error = 3")
    for site, status, fix in (
        (installed_plugin, "ok", ""),
        (broken, "warn", "expected a MaskMetric (a function with mask_metric of napari_melanoma.metrics.mask_metrics)"),
    ):
        monkeypatch.setenv("PYTHONPATH", str(site))
        (package,) = doctor.check_plugins()
        assert package.status == status
        assert fix in package.fix
        assert package.found.startswith(
            f"{PACKAGE} 1.0: augmentations: red_cast; data exports: boxes; data sources: med_node; exports: areas"
        )


# The contract of each family, for its own members and those of plug-ins.


def test_contract_of_networks(installed_plugin: Path) -> None:
    for name, architecture in NETWORKS.members.items():
        spec = architecture.spec
        assert spec.name == name
        assert spec.title
        assert spec.reference
        spec.config.parse(spec.small, name)
        if spec.task == "segmentation" and NETWORKS.find_plugin(name):  # tests/models has those of this package
            network = build_network(name, spec.small).eval()
            assert network(torch.zeros(1, 3, 70, 50)).shape == (1, 1, 70, 50)


def test_contract_of_losses(installed_plugin: Path) -> None:
    for name, loss in LOSSES.members.items():
        segments = loss.spec.task == "segmentation"
        target = torch.zeros(2, 1, 8, 8) if segments else torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        if segments:
            target[..., 2:6] = 1
        make = make_loss if segments else make_class_loss
        right, wrong = ((sign * 20 * (2 * target - 1)).requires_grad_() for sign in (1, -1))
        low, high = make(name)(right, target), make(name)(wrong, target)
        high.backward()
        assert low.shape == (), name
        assert low < high, name
        assert wrong.grad is not None, name
        assert wrong.grad.isfinite().all(), name


def test_contract_of_schedules(installed_plugin: Path) -> None:
    for name, schedule in SCHEDULES.members.items():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        stepped = schedule.build(optimizer, ScheduleSteps(12, 4, 2.0))
        for _ in range(11):
            optimizer.step()
            stepped.step()
            assert 0 <= optimizer.param_groups[0]["lr"] <= 1, name


def test_contract_of_augmentations(installed_plugin: Path) -> None:
    images = torch.full((4, 3, 32, 32), 120, dtype=torch.uint8)
    masks, keys = torch.zeros(4, 1, 32, 32, dtype=torch.uint8), np.stack([np.zeros(4, np.int64), np.arange(4)], 1)
    fields = [name for name in AugmentationConfig.model_fields if name.endswith("_probability")]
    partners = ("mosaic_probability", "cutmix_probability")
    off = {**dict.fromkeys(fields, 0), "scale": (1, 1), "aspect": 1, "shift": 0, "rotation": 0, "flip": False}
    off |= dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0)
    assert AugmentationConfig.parse(off, "the test").is_off
    changed = [{name: 1} for name in fields if name not in (*partners, "elsewhere_probability")]
    changed += [{"plugins": {name: 1}} for name in AUGMENTATIONS.members]
    for one in changed:
        config = AugmentationConfig.parse({**off, **one}, "the test")
        assert not config.is_off
        first, second = (BatchAugmentation(config, 32, 1)(images.clone(), masks.clone(), keys)[0] for _ in range(2))
        assert first.shape == images.shape
        assert torch.equal(first, second)
        assert 0 <= first.min() <= first.max() <= 255


def test_contract_of_metrics_of_masks(installed_plugin: Path) -> None:
    mask = np.zeros((40, 40), bool)
    mask[8:30, 5:25] = True
    right, wrong = measure_mask(mask, mask, PixelSize(10, 10)), measure_mask(np.roll(mask, 9), mask, PixelSize(10, 10))
    empty = measure_mask(np.zeros_like(mask), mask, None)
    metrics = {key: metric for key, metric in list_mask_metrics().items() if key not in BAND_METRICS}
    assert set(metrics) == set(right)
    for key, metric in metrics.items():
        assert metric.title
        assert metric.definition
        low, high = metric.limits
        found = [values.get(key, math.nan) for values in (right, wrong, empty)]  # nothing in mm without a scale
        assert all(low <= value <= high or math.isnan(value) for value in found), key
        better = right[key] >= wrong[key] if metric.better == "higher" else right[key] <= wrong[key]
        assert better or not metric.better, key


def test_contract_of_data_sources(installed_plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none of any set")
    for name, source in SOURCES.members.items():
        spec = source.spec
        assert spec.name == name
        assert all((spec.title, spec.licence, spec.layout))
        assert source.find_records(SourceTree.scan(tmp_path)) == []


def test_contract_of_data_exports(installed_plugin: Path, tmp_path: Path) -> None:
    dataset = blobs(tmp_path / "set", 4)
    for name, format_ in DATA_EXPORTS.members.items():
        assert format_.spec.name == name
        assert format_.spec.title
        report = export_dataset(dataset, format_, tmp_path / name, DataExportOptions(), run=RunContext())
        assert (report.images, report.masks, report.classes, report.faults) == (4, 4, {"lesion": (1,)}, []), name
        assert (tmp_path / name / "metadata.csv").exists() != format_.spec.has_table
    assert (tmp_path / "boxes/labels/b00.txt").read_text() == "0 0.375000 0.333333 0.500000 0.500000\n"


def test_contract_of_exports(installed_plugin: Path, tmp_path: Path) -> None:
    for name, one in EXPORTS.members.items():
        assert one.title
        assert Path(one.file_name).suffix
        assert callable(one.write or WRITERS[name])


def test_contract_of_sections_of_reports(installed_plugin: Path) -> None:
    for name, section in REPORT_SECTIONS.members.items():
        assert section.title
        for collect in (section.slide, section.lesion):
            assert len(signature(collect).parameters) == 3, name


def test_the_section_of_reports_and_one_that_fails(
    installed_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = draw_slide(tmp_path / "section.tif")
    FakeAnalysis(tmp_path / "results/section", slide, "a").begins().finishes()
    example = REPORT_SECTIONS.members["tiles"].slide
    failing = ReportSection("Failing", lambda part, name, records: [*example(part, name, records), 1 / 0])
    assert "tiles were analyzed" in render_report(collect_report([tmp_path / "results"], run=RunContext()).report)
    monkeypatch.setitem(REPORT_SECTIONS.members, "tiles", failing)
    collected = collect_report([tmp_path / "results/section"], run=RunContext())
    page = render_report(collected.report)
    assert f"Slide 1: its section Failing ({PACKAGE}) cannot be shown." in page
    (problem,) = collected.problems
    assert problem.detail.startswith(f"'tiles' of {PACKAGE} 1.0 cannot be used")
    assert "ZeroDivisionError: division by zero" in problem.detail


def test_contract_of_sections(installed_plugin: Path) -> None:
    """What they do is tested with all others in ``tests/ui/sections/test_contract.py``."""
    for family, kinds in ((SECTIONS, (SlideSection, PhotographSection)), (LESION_SECTIONS, (LesionSection,))):
        for title, section in family.members.items():
            assert title[0].isupper()
            assert issubclass(section, kinds)
            assert list(signature(section).parameters) == ["session"]


def test_a_metric_that_fails_is_not_a_number(
    installed_plugin: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = replace(METRICS.members["area_error"], compute=lambda mask, reference, pixel_size: 1 / 0)
    monkeypatch.setitem(METRICS.members, "area_error", failing)
    mask = np.ones((4, 4), bool)
    values = measure_mask(mask, mask, None)
    assert math.isnan(values["area_error"])
    assert values["DI"] == 1
    assert "the metric area_error of melanoma-example 1.0 failed" in caplog.text


def test_the_data_source(installed_plugin: Path, tmp_path: Path) -> None:
    for path in ("melanoma/12.jpg", "naevus/12.jpg", "naevus/7.jpg"):
        write_rgb(tmp_path / "set" / path, np.full((16, 16, 3), 90, np.uint8))
    found = find_source("med_node").read_folder(tmp_path / "set")
    assert {record.image_id: harmonize_rows([record.values]).rows[0]["diagnosis"] for record in found.importable} == {
        "melanoma_12": "melanoma",
        "naevus_12": "nevus",
        "naevus_7": "nevus",
    }
    report = import_source(find_source("med_node"), tmp_path / "set", tmp_path / "out", run=RunContext())
    assert report.images == 3
