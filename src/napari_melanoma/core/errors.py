"""Errors shown to users; each message states what was expected, what was found and what to do."""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class ConfigFault(NamedTuple):
    """A fault of one value of a configuration: its key with dots, the value, and what was expected."""

    key: str
    found: object
    expected: str


class MelanomaError(Exception):
    """Base of all errors that this package raises deliberately."""


class ConfigError(MelanomaError):
    """A configuration has an unknown key or a value out of range, or cannot be read."""

    def __init__(self, message: str, faults: tuple[ConfigFault, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class InputError(MelanomaError):
    """An input cannot be used: a file is missing, unreadable or of another type, or an argument is invalid."""


class MalformedFile(InputError, ValueError):  # noqa: N818 - the name describes the state
    """A file is not valid JSON or TOML, or exceeds the limits of size, depth or numbers."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message, reason)
        self.reason = reason or message

    def __str__(self) -> str:
        return str(self.args[0])


class UnreadableImage(InputError):  # noqa: N818 - the name describes the state
    """A file is not an image that can be decoded: truncated, empty, of another format or too large."""


class DamagedImage(UnreadableImage):
    """A part of an image is missing or corrupt; the rest can be opened if the user accepts that."""

    def __init__(self, message: str, damage: str = "") -> None:
        super().__init__(message)
        self.damage = damage


class DataSetError(InputError):
    """A data set is invalid: a missing column, image or mask, or sizes that differ."""


class BundleError(MelanomaError):
    """A model cannot be used: it does not exist, its bundle is incomplete or damaged, or it is for another task."""


class MissingPackage(BundleError):  # noqa: N818 - the name describes the state
    """A network cannot be run, trained or exported, because packages are not installed."""


class PluginError(MelanomaError):
    """An object of a plug-in cannot be used: it cannot be loaded, or is not what its family expects."""


class SaveError(MelanomaError):
    """A result could not be written; no partial file remains."""


class DiskFull(SaveError):  # noqa: N818 - the name describes the state
    """The disk is full; further results there cannot be written either."""


class CaseChanged(SaveError):  # noqa: N818 - the name describes the state
    """A case changed on disk: another program changed its file or moved its folder."""


class ScaleMissing(MelanomaError):  # noqa: N818 - the name describes the state
    """A measurement in physical units was requested without a known pixel size."""


class NotMeasured(InputError, KeyError):  # noqa: N818 - the name describes the state
    """A measurement of a lesion is not available."""

    def __str__(self) -> str:
        return str(self.args[0])


class RunError(MelanomaError):
    """A training run or an analysis cannot start, continue or be resumed as requested."""


class ResultsMismatch(RunError):  # noqa: N818 - the name describes the state
    """Existing results were made from other inputs or in another way; they are kept."""


class FolderInUse(RunError):  # noqa: N818 - the name describes the state
    """Another process works in a folder."""


class TrainingError(MelanomaError):
    """A training run failed: invalid numbers, memory, a device, a lost process."""


class TrainingDiverged(TrainingError):  # noqa: N818 - the name describes the state
    """The numbers of a training became invalid; every process of the run detects it at the same batch."""

    event_type: ClassVar[str] = "Diverged"  # in the events of a run, also of older versions


class WorkerTerminated(MelanomaError):  # noqa: N818 - the name describes the state
    """The worker process of the docks ended during a request."""


class ClusterError(MelanomaError):
    """Processes or machines of a cluster cannot be reached, were lost, or are not the expected ones."""


def describe_error(error: BaseException) -> str:
    """Describe an error on one line, for a table or a status line; errors of other packages with their type."""
    text = " ".join(str(error).split())
    if isinstance(error, MelanomaError):
        return text
    if isinstance(error, OSError) and error.strerror and error.filename:  # such as a link to itself
        return f"{error.filename}: {error.strerror}. Copy the file again, or check its access rights."
    if isinstance(error, MemoryError):
        return "out of memory. Close other programs, or use a machine with more memory."
    return f"unexpected {type(error).__name__}: {text}. The file may be damaged: copy or export it again."
