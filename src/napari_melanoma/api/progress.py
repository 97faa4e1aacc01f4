"""Run a long function in the background while iterating over its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

from napari_melanoma.core.context import Cancelled, Progress
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_repr

__all__ = ["ProgressIterator", "iter_progress"]

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class ProgressIterator(Iterator[Progress], Generic[Result]):
    """The progress of a function that runs in a thread; see ``iter_progress``.

    Parameters
    ----------
    call : callable
        Calls the function with a function that accepts each ``Progress``.
    """

    def __init__(self, call: Callable[[Callable[[Progress], None]], Result]) -> None:
        self._call = call
        self._reports: SimpleQueue[Progress | None] = SimpleQueue()
        self._canceled = Event()
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="napari-melanoma", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        """Return a short text."""
        return format_repr(self, done=not self._thread.is_alive())

    def __next__(self) -> Progress:
        """Wait for the next report; the iteration ends when the function has ended, and raises its error."""
        report = self._reports.get()
        if report is not None:
            return report
        self._reports.put(None)  # for a later call
        if self._error is not None and not self._canceled.is_set():
            raise self._error
        raise StopIteration

    def __enter__(self) -> Self:
        """Return the iterator itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Cancel the function if it has not ended."""
        self.cancel()

    def cancel(self) -> None:
        """Stop the function at its next report, and wait until it has ended; has no effect afterwards."""
        self._canceled.set()
        self._thread.join()

    def result(self) -> Result:
        """Wait for the function, and return its result.

        Returns
        -------
        object
            What the function returns.

        Raises
        ------
        InputError
            If the function was canceled; otherwise any error that it raised.
        """
        self._thread.join()
        if isinstance(self._error, Cancelled):
            raise InputError("the function was canceled, so it has no result. Call it again.")
        if self._error is not None:
            raise self._error
        return cast("Result", self._result)

    def _work(self) -> None:
        try:
            self._result = self._call(self._report)
        except BaseException as error:  # noqa: BLE001 - raised where the progress or the result is requested
            self._error = error
        finally:
            self._reports.put(None)

    def _report(self, progress: Progress) -> None:
        if self._canceled.is_set():
            raise Cancelled
        self._reports.put(progress)


def iter_progress(
    function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
) -> ProgressIterator[Result]:
    """Start a long function in a thread, and iterate over its progress.

    Parameters
    ----------
    function : callable
        A function with an argument ``progress``, such as ``nm.train`` or ``nm.analyze_slide``.
    *args, **kwargs
        Its other arguments.

    Returns
    -------
    ProgressIterator
        Yields each ``Progress``; ``result()`` returns what the function returns, ``cancel()`` stops it. As a context
        manager, it cancels the function if the block is left early.

    Raises
    ------
    InputError
        If ``progress`` is among the arguments.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> with nm.iter_progress(nm.train, "recipe.toml", "run") as training:  # doctest: +SKIP
    ...     for step in training:
    ...         print(step.message, step.done, step.total)
    >>> model = training.result()  # doctest: +SKIP
    """
    if "progress" in kwargs:
        raise InputError("iter_progress passes 'progress' itself. Leave it out, and iterate over the result.")
    arguments: dict[str, Any] = dict(kwargs)
    target: Callable[..., Result] = function
    return ProgressIterator(lambda report: target(*args, **arguments, progress=report))
