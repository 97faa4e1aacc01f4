"""What a worker does of a cohort: one slide, with a reader of its own and a model that it loads once.

Nothing but names of files and a row of a table travels between processes; pixels and results never do. What went
wrong comes back as an answer and not as an exception, so that whoever shares the work can tell what to do about it.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from napari_melanoma import __version__
from napari_melanoma.core.errors import (
    BundleError,
    ClusterError,
    ConfigError,
    DiskFull,
    MelanomaError,
    RunError,
    SaveError,
    in_words,
)
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.runs import Cancelled, RunContext
from napari_melanoma.workflows.analyse_slide import analyse_slide
from napari_melanoma.workflows.slide_folders import note_slide
from napari_melanoma.workflows.slide_options import SlideOptions
from napari_melanoma.workflows.slide_table import Row, SlideStatus, row_of
from napari_melanoma.workflows.slides import SlideModels

# What became of it: bad input stays bad; "again" may go well elsewhere or later; "all" concerns every slide.
Outcome = Literal["done", "bad", "again", "busy", "all", "cancelled"]
_one_at_a_time = threading.Lock()  # the model is one, also where a worker has several threads


@dataclass(frozen=True)
class Job:
    """One slide to be analysed: the slide, its folder, how, and by which version of this program."""

    slide: Path
    folder: Path
    options: SlideOptions
    force: bool = False
    version: str = __version__


@dataclass(frozen=True)
class Answer:
    """What became of a job: the row of the slide where it is done; where not, what is wrong and which error that is."""

    outcome: Outcome
    error: str = ""
    kind: str = ""
    row: Row = field(default_factory=dict)


def analyse(job: Job) -> Answer:
    """Analyse one slide, after others that this process is still busy with.

    Returns also where it failed, whatever the reason.
    """
    if job.version != __version__:
        said = f"a worker has napari-melanoma {__version__}, this is {job.version}. Install one version everywhere."
        return Answer("all", said, ClusterError.__name__)
    if not job.slide.exists():
        return Answer(
            "again", f"the worker does not see {job.slide.name}. All machines must share the folder of slides."
        )
    with _one_at_a_time:
        try:
            return _analysed(job)
        except RunError as error:
            return Answer("busy" if RunFolder(job.folder).is_owned else "bad", str(error))
        except (BundleError, ConfigError, DiskFull) as error:
            return Answer("all", str(error), type(error).__name__)
        except Cancelled:
            return Answer("cancelled", "it was cancelled through control.json in its folder; the same command goes on")
        except SaveError as error:
            return Answer("again", str(error))
        except MelanomaError as error:  # of the slide: it will be the same elsewhere
            return Answer("bad", str(error))
        except MemoryError:
            return Answer("again", "out of memory. Use fewer processes, or a machine with more memory.")
        except Exception as error:  # noqa: BLE001 - handed to a person, in the slide's row
            return Answer("again", in_words(error))


def _analysed(job: Job) -> Answer:
    """Analyse one slide with the model of this process."""
    threads = _threads()
    options = job.options.model_copy(update={"workers": job.options.workers or max(2, min(8, threads))})
    note_slide(job.folder, job.slide)
    models = _models(job.options.model_dump_json())
    found = analyse_slide(job.slide, job.folder, options, RunContext(), load=models.fresh, force=job.force)
    return Answer("done", row=row_of(SlideStatus(job.slide, job.folder, "done", found.content)))


@lru_cache(maxsize=1)
def _models(options: str) -> SlideModels:
    """The model of the slides that come with these options; that of other options is let go."""
    return SlideModels(SlideOptions.model_validate_json(options))


def _threads() -> int:
    """Compute with as many threads as this worker was given, and say how many; what is wrong is said by us."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported
    import torch
    from distributed import get_worker

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    threads = int(get_worker().state.nthreads)
    torch.set_num_threads(threads)
    return threads


def failed_row(job: Job, error: str) -> Row:
    """Give the row of a slide that failed."""
    return row_of(SlideStatus(job.slide, job.folder, "failed", error=error))
