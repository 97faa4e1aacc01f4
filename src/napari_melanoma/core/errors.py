"""The errors a person may meet; each message says what was expected, what was found and what to do."""

from __future__ import annotations

from typing import NamedTuple


class ConfigFault(NamedTuple):
    """What is wrong with one value of a configuration: its key with dots, the value, and what was expected instead."""

    key: str
    found: object
    expected: str


class MelanomaError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(MelanomaError):
    """A configuration has an unknown key, a value out of range or cannot be read."""

    def __init__(self, message: str, faults: tuple[ConfigFault, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class InputError(MelanomaError):
    """A path that the user named cannot serve as input: missing, unreadable, empty or of another kind."""


class MalformedFile(InputError, ValueError):  # noqa: N818 - reads as what it is at the place it is raised
    """A file is not valid JSON or TOML, or exceeds the limits of size, depth or numbers."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message, reason)
        self.reason = reason or message

    def __str__(self) -> str:
        return str(self.args[0])


class UnreadableImage(InputError):  # noqa: N818 - reads as what it is at the place it is raised
    """A file is no image that can be decoded: truncated, empty, of another format or out of bounds."""


class DamagedImage(UnreadableImage):
    """A part of an image is missing or corrupt; the rest can be opened where a user accepts that."""

    def __init__(self, message: str, damage: str = "") -> None:
        super().__init__(message)
        self.damage = damage


class DataSetError(InputError):
    """A data set does not follow its contract: a missing column, image or mask, or sizes that differ."""


class BundleError(MelanomaError):
    """A model bundle is incomplete or its weights do not fit its architecture."""


class SaveError(MelanomaError):
    """A result could not be written; nothing half-written is left behind."""


class DiskFull(SaveError):  # noqa: N818 - reads as what it is at the place it is raised
    """No space is left where a result was to be written: whatever comes next there will not be written either."""


class CaseChanged(SaveError):  # noqa: N818 - reads as what it is at the place it is raised
    """A case is not what was read: another program changed its file or moved its folder."""


class ScaleMissing(MelanomaError):  # noqa: N818 - reads as what it is at the place it is raised
    """A measurement in physical units was asked for where no pixel size is known."""


class RunError(MelanomaError):
    """A training run cannot start, go on or be resumed as asked."""


class ResultsMismatch(RunError):  # noqa: N818 - a state, as its siblings
    """What is there was made of something else, or in another way; it stays as it is."""


class TrainingError(MelanomaError):
    """A training run came to a bad end by itself: numbers that are none, memory, a device, a lost process."""


class TrainingDiverged(TrainingError):  # noqa: N818 - reads as what it is at the place it is raised
    """The numbers of a training are none any more; every process of the run comes to this at the same batch."""


class WorkerTerminated(MelanomaError):  # noqa: N818 - reads as what it is at the place it is raised
    """The process that answers the docks ended while an answer was awaited."""


class ClusterError(MelanomaError):
    """The processes or machines that should share the work cannot be reached, were lost, or are not those expected."""


def describe_error(error: BaseException) -> str:
    """Describe an error on one line: our own by its message, that of a library by its type as well.

    What a person reads in a table or a status line.
    """
    text = " ".join(str(error).split())
    if isinstance(error, MelanomaError):
        return text
    if isinstance(error, MemoryError):
        return "out of memory. Close other programs, or use a machine with more memory."
    return f"unexpected {type(error).__name__}: {text}. The file may be damaged: copy or export it again."
