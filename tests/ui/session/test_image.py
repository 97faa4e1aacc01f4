"""What the sessions of images share: the parts, and the signals that they follow."""

from __future__ import annotations

from psygnal import Signal
from qtpy.QtCore import QCoreApplication, QEvent

from napari_melanoma.ui.session.image import ImageSession


class Sender:
    """Has a signal that outlives the parts."""

    changed = Signal(int)


def test_parts_that_are_made_again_follow_signals_after_the_previous_owner_was_deleted(qapp):
    session, sender = ImageSession(print), Sender()
    received: dict[str, list[int]] = {"first": [], "second": []}
    session.follow(sender.changed, received["first"].append)
    session.end_parts()
    session.follow(sender.changed, received["second"].append)
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    sender.changed.emit(3)
    assert received == {"first": [], "second": [3]}
