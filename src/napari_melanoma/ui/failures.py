"""How a dock shows an error: a sentence in its status line, and a notification with the details."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError, in_words

if TYPE_CHECKING:
    from napari_melanoma.ui.status_line import StatusLine


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

    status.say(in_words(error))
    if isinstance(error, MelanomaError):
        notifications.show_error(str(error))
    else:
        notifications.notification_manager.dispatch(notifications.ErrorNotification(error))
