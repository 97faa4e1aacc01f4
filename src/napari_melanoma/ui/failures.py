"""How a dock shows an error: a sentence in its status line, and a notification with the details."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError, in_words

if TYPE_CHECKING:
    from napari_melanoma.ui.status_line import StatusLine


OPTION = re.compile(r" \(command line: [^()]*\)")


def without_options(text: str) -> str:
    """Leave out what a text says of the command line."""
    return OPTION.sub("", text)


def show_failure(status: StatusLine, error: Exception) -> None:
    """Show an error of a dock."""
    from napari.utils import notifications

    status.say(without_options(in_words(error)))
    if isinstance(error, MelanomaError):
        notifications.show_error(without_options(str(error)))
    else:
        notifications.notification_manager.dispatch(notifications.ErrorNotification(error))
