"""What the Paint section shows of the training of a network, without a window."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from psygnal import SignalInstance
from qtpy.QtCore import QObject

from napari_melanoma.core.errors import MissingPackage
from napari_melanoma.core.run_folder import RunState
from napari_melanoma.evaluation.comparison import ComparedModel, Comparison
from napari_melanoma.runs import acceptance, launching
from napari_melanoma.runs.launching import RunReport
from napari_melanoma.runs.stroke_training import NAME
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.sections.paint import network
from napari_melanoma.ui.sections.paint.network import (
    BRIGHTFIELD_ONLY,
    NO_STROKES,
    NetworkPanel,
    NetworkRun,
    NetworkTrainer,
    resolve_network,
    resolve_network_blocker,
)
from napari_melanoma.ui.sections.paint.options import PaintOptions
from napari_melanoma.ui.sections.paint.saving import describe_slides
from napari_melanoma.ui.widgets.job import tasks

NAMED = TrainRecipe.model_construct(name=NAME)
OTHER = TrainRecipe.model_construct(name="lesion")
MODEL = ComparedModel("n", "", 0.5, {})


def report(state: RunState, message: str = "Epoch 3 of 4.", **values: Any) -> RunReport:
    return RunReport(Path("run"), state, message, **values)


def compared(advice: Any) -> Comparison:
    return Comparison(MODEL, MODEL, {}, (), (), (), advice, "Balanced accuracy 0.91 against 0.87.", 1, 1, task="cells")


def test_progress_of_a_training() -> None:
    step = {"epoch": 2, "batch": 5, "batches": 10, "eta_s": 130}
    shown = resolve_network(report(RunState.running, epoch=2, epochs=4, step=step))
    assert shown.text == "Training a network: epoch 3 of 4. 2 min left."
    assert shown.share == pytest.approx(0.625)
    assert (shown.can_cancel, shown.can_resume, shown.can_use) == (True, False, False)


@pytest.mark.parametrize("state", [RunState.cancelled, RunState.failed, RunState.lost])
def test_an_ended_training_can_be_resumed(state: RunState) -> None:
    shown = resolve_network(report(state, "Canceled after 2 of 4 epochs."))
    assert (shown.share, shown.can_resume, shown.can_use) == (None, True, False)


@pytest.mark.parametrize(("advice", "offered"), [("activate", True), ("keep", False), ("inconclusive", True)])
def test_only_a_better_network_is_offered(advice: str, offered: bool) -> None:
    shown = resolve_network(report(RunState.finished, comparison=compared(advice)))
    assert (shown.text, shown.can_use) == ("Balanced accuracy 0.91 against 0.87.", offered)


def test_a_network_in_use_is_not_offered_again() -> None:
    shown = resolve_network(report(RunState.finished, comparison=compared("activate"), activated_as="tissue-network"))
    assert (shown.text, shown.can_use) == ("The network is in use as model 'tissue-network'.", False)


@pytest.mark.parametrize(
    ("strokes", "active", "expected"),
    [
        ((), False, NO_STROKES),
        ((5, 1), False, NO_STROKES),
        ((2, 2, 1), False, ""),
        ((2, 2), True, "A network is being"),
    ],
)
def test_why_no_network_can_be_trained(strokes: tuple[int, ...], active: bool, expected: str) -> None:
    blocker = resolve_network_blocker(strokes, is_active=active)
    assert blocker.startswith(expected)
    assert bool(blocker) == bool(expected)
    assert resolve_network_blocker(strokes, is_active=active, is_fluorescence=True) == BRIGHTFIELD_ONLY


def test_the_slides_used_are_named() -> None:
    slides = [PaintedSlideFile(Path("folder") / f"{name}.svs", ()) for name in ("one", "two")]
    assert describe_slides(slides).startswith("Strokes of 2 slides: one.svs, two.svs. ")


def create_session() -> Any:
    status = SimpleNamespace(cancelled=SignalInstance((str,)))
    return SimpleNamespace(services=SimpleNamespace(status=status))


def test_missing_packages_are_reported_before_the_question(qtbot, monkeypatch) -> None:
    error = MissingPackage("training needs torch")
    monkeypatch.setattr(network, "require_training_packages", Mock(side_effect=error))
    monkeypatch.setattr(network, "list_painted_slides", lambda session: ())
    panel, parent = NetworkPanel(), QObject()
    qtbot.addWidget(panel)
    trainer = NetworkTrainer(panel, NetworkRun(is_searched=True), create_session(), parent)
    with qtbot.waitSignal(trainer.failed) as failed:
        trainer.ask(panel, PaintOptions().fit, "")
    assert failed.args == [error]
    trainer.close()


@pytest.mark.parametrize(
    ("runs", "followed"),
    [
        ([report(RunState.running, recipe=OTHER), report(RunState.running, recipe=NAMED)], True),
        (
            [report(RunState.running, recipe=OTHER), report(RunState.finished, recipe=NAMED), report(RunState.running)],
            False,
        ),
    ],
)
def test_a_training_that_continues_from_an_earlier_window_is_followed(qtbot, monkeypatch, runs, followed) -> None:
    monkeypatch.setattr(launching, "list_runs", lambda: runs)
    monkeypatch.setattr(launching, "read_run", lambda path: report(RunState.running, epoch=1, epochs=4))
    panel, run, parent = NetworkPanel(), NetworkRun(), QObject()
    qtbot.addWidget(panel)
    trainer = NetworkTrainer(panel, run, create_session(), parent)
    try:
        qtbot.waitUntil(lambda: tasks.is_idle(parent))
        assert trainer.is_active == followed
        assert (run.path is not None) == followed
        assert panel.isHidden() != followed
    finally:
        trainer.close()


def test_a_second_network_can_be_used_after_the_first(qtbot, monkeypatch) -> None:
    better = report(RunState.finished, comparison=compared("activate"))
    in_use = report(RunState.finished, comparison=compared("activate"), activated_as="first")
    reports = [better, in_use, better]
    monkeypatch.setattr(launching, "read_run", lambda path: reports.pop(0))
    monkeypatch.setattr(acceptance, "activate_model", lambda path: SimpleNamespace(name="first"))
    panel, parent = NetworkPanel(), QObject()
    qtbot.addWidget(panel)
    trainer = NetworkTrainer(panel, NetworkRun(Path("run"), is_searched=True), create_session(), parent)
    try:
        qtbot.waitUntil(lambda: tasks.is_idle(parent))
        with qtbot.waitSignal(trainer.used):
            panel.use_button.click()
        qtbot.waitUntil(lambda: tasks.is_idle(parent) and len(reports) == 1)
        trainer._watch.refresh()
        qtbot.waitUntil(lambda: tasks.is_idle(parent) and not reports)
        assert panel.use_button.isVisibleTo(panel)
        assert panel.use_button.isEnabled()
    finally:
        trainer.close()
