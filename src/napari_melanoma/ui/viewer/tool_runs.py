"""How the single-step tools run: off the GUI thread, with napari's progress bar, and a result that napari adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils import cancelable_progress
from napari.utils.notifications import ErrorNotification, notification_manager, show_error
from numpy.typing import NDArray
from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QEventLoop, QThread, QTimer

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.io.formats import MAX_PIXELS
from napari_melanoma.models.inference import without_torch
from napari_melanoma.ui.manifest import keep_units_consistent
from napari_melanoma.ui.viewer.garbage import free_in_own_context
from napari_melanoma.ui.viewer.photographs import get_own_units, get_shape
from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.status_line import describe_failure
from napari_melanoma.ui.widgets.style import WrappedLabel, named

if TYPE_CHECKING:
    from magicgui.widgets import FunctionGui
    from napari.viewer import Viewer


class ToolResult(NamedTuple):
    """What a tool has computed: layers as napari's tuples, and the text below its button.

    ``apply``: changes a layer of the user; called on the GUI thread.
    """

    layers: Sequence[Any]
    text: str
    apply: Callable[[], None] | None = None


class ToolRun(Future[Any]):
    """A running tool; its result are tuples of new layers, or None if it failed, was canceled, or found nothing.

    ``text``: what the tool has found, or why it has failed. On the GUI thread, where runs end, ``result`` and
    ``exception`` process events until then: a script has no event loop, and a callback would wait for itself.
    """

    text = ""

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - of the base class
        """Return the new layers, or None."""
        self._process_events(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return None, as errors are shown and stated in ``text``."""
        self._process_events(timeout)
        return super().exception(timeout)

    def _process_events(self, timeout: float | None) -> None:
        application = QCoreApplication.instance()
        if self.done() or application is None or QThread.currentThread() != application.thread():
            return
        loop = QEventLoop()
        self.add_done_callback(lambda _: loop.quit())
        if timeout is not None:
            QTimer.singleShot(round(1000 * timeout), loop.quit)
        loop.exec()


class _ToolProgress(cancelable_progress):
    """The bar of napari's activity dock; its Cancel button stops the job."""

    job: BackgroundJob | None = None

    def cancel(self) -> None:
        super().cancel()
        if self.job is not None:
            self.job.cancel()


def run_tool(title: str, work: Callable[[RunContext], ToolResult], choose: Callable[[], str] | None = None) -> ToolRun:
    """Run the work of a tool in a thread, in which networks run without torch.

    ``choose``: returns the name of the new layer when the work has ended, as napari replaces a layer of the same name.
    """
    free_in_own_context()  # users remove the layers of tools without having opened a dock
    done = ToolRun()
    bar = _ToolProgress(total=0, desc=title)
    job = bar.job = BackgroundJob(partial(_call_without_torch, work))
    job.progressed.connect(partial(_show_progress, bar))
    job.succeeded.connect(partial(_finish, done, choose))
    job.failed.connect(partial(_fail, done))
    job.finished.connect(partial(_end, done, bar))
    job.start()
    return done


def fail_tool(error: MelanomaError) -> ToolRun:
    """Return a run that failed before it was started."""
    done = ToolRun()
    _fail(done, error)
    done.set_result(None)
    return done


def _call_without_torch(work: Callable[[RunContext], ToolResult], run: RunContext) -> ToolResult:
    with without_torch():
        return work(run)


def _show_progress(bar: _ToolProgress, progress: Progress) -> None:
    bar.set_description(progress.message)
    if progress.total:
        bar.total = progress.total
        bar.update(progress.done - bar.n)


def _finish(done: ToolRun, choose: Callable[[], str] | None, result: ToolResult) -> None:
    done.text = result.text
    if result.apply is not None:
        result.apply()
    layers = [(data, {**shown, "name": choose()} if choose else shown, kind) for data, shown, kind in result.layers]
    done.set_result(layers or None)
    if result.layers:
        keep_units_consistent()


def _fail(done: ToolRun, error: Exception) -> None:
    done.text = describe_failure(error)
    if isinstance(error, MelanomaError):
        show_error(done.text)
    else:
        notification_manager.dispatch(ErrorNotification(error))


def _end(done: ToolRun, bar: _ToolProgress) -> None:
    bar.close()
    if not done.done():
        done.text = done.text or "Canceled."
        done.set_result(None)


def watch_runs(gui: FunctionGui) -> None:
    """Show the text of a tool's run below its button, which is disabled until the run has ended."""
    text = named(WrappedLabel(), "tool_text", "Result")
    gui.native.layout().addWidget(text)

    def show(run: ToolRun) -> None:
        if isalive(text):
            text.setText(run.text)
            gui.call_button.enabled = run.done()

    def follow(run: ToolRun) -> None:
        show(run)
        run.add_done_callback(lambda _: show(run))

    gui.called.connect(follow)


def check_layer(layer: Layer | None, kind: str) -> None:
    """Raise InputError if no layer is selected, or it is not a plane; ``kind``: for the message, such as "mask"."""
    if layer is None:
        raise InputError(f"no {kind} is selected. Open or add one, then select it.")
    if layer.ndim != 2:
        raise InputError(
            f"'{layer.name}' has {layer.ndim} dimensions, but a {kind} has 2 (row, column). Copy the plane to a layer "
            "of its own."
        )


def check_color(image: Image | None) -> None:
    """Raise InputError if a layer is not a color image."""
    check_layer(image, "color image")
    assert image is not None
    if not image.rgb:
        raise InputError(
            f"'{image.name}' is a gray image, but color (RGB or RGBA) was expected: the models were trained on color. "
            "If its colors are in three layers, select these and choose Merge to RGB in their context menu."
        )


def check_photograph(image: Image | None) -> None:
    """Raise InputError if a layer is not a color image of the size of a photograph, which is read as a whole."""
    check_color(image)
    assert image is not None
    rows, columns = get_shape(image)
    if rows * columns > MAX_PIXELS:
        raise InputError(
            f"'{image.name}' has {columns:,} x {rows:,} pixels, but a photograph has at most {MAX_PIXELS // 10**6} "
            "million. For a slide, use Segment tissue or the Slide dock; or crop the image."
        )


class Placement(NamedTuple):
    """The position of an image in the viewer, collected on the GUI thread.

    ``matrix``: float64 (2, 3), which maps (row, column, 1) of the image to a translation. ``keywords``: those of its
    layer that apply to every layer on it.
    """

    scale: NDArray[np.float64]
    matrix: NDArray[np.float64]
    keywords: dict[str, Any]

    @classmethod
    def of(cls, image: Layer) -> Placement:
        """Collect the position of a layer (row, column)."""
        origin, down, right = (image.affine.inverse(image.data_to_world(point)) for point in ((0, 0), (1, 0), (0, 1)))
        transform = {"rotate": image.rotate, "shear": image.shear, "affine": image.affine.affine_matrix}
        matrix = np.stack([down - origin, right - origin, origin], axis=1)
        return cls(np.array(image.scale), matrix, {**transform, "units": get_own_units(image)})

    def place(self, offset: Sequence[float] = (0, 0), step: Sequence[float] = (1, 1)) -> dict[str, Any]:
        """Return the keywords that place a layer on the image.

        ``offset``: center of the first pixel in pixels of the image. ``step``: sides of a pixel in pixels of the image.
        """
        return {**self.keywords, "scale": self.scale * step, "translate": self.matrix @ (*offset, 1)}


def choose_name(viewer: Viewer | None, image: Layer, role: str, tool: str) -> str:
    """Return the name of a new layer; that of an earlier result of the same tool, which is then updated.

    Layers of others are never updated, and Labels neither, as they may have been corrected.
    """
    name, number = f"{image.name} {role}", 0
    names = {layer.name: layer for layer in viewer.layers} if viewer is not None else {}
    chosen = name
    while chosen in names:
        layer = names[chosen]
        widget = layer.source.widget
        if not isinstance(layer, Labels) and getattr(widget, "name", None) == tool:
            return chosen
        number += 1
        chosen = f"{name} [{number}]"
    return chosen
