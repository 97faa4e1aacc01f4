"""How a dock shows an error: a sentence in its status line, and a notification with the details."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError, in_words

if TYPE_CHECKING:
    from napari_melanoma.ui.status_line import StatusLine


OPTION = re.compile(r" \(command line: [^()]*\)")


def without_options(text: str) -> str:
    """Leave out what a text says of the command line.

    Parameters
    ----------
    text : str
        An error or warning that is also shown in a terminal.

    Returns
    -------
    str
        What a dock shows.
    """
    return OPTION.sub("", text)


def show_failure(status: StatusLine, error: Exception) -> None:
    """Show an error of a dock.

    Parameters
    ----------
    status : StatusLine
        The status line of the dock.
    error : Exception
        Ours is shown as it is; another with its type, and with its traceback behind a button.
    """
    from napari.utils import notifications

    status.say(without_options(in_words(error)))
    if isinstance(error, MelanomaError):
        notifications.show_error(without_options(str(error)))
    else:
        notifications.notification_manager.dispatch(notifications.ErrorNotification(error))
