"""The Qt under which the tests claim to run is the one that runs them."""

from __future__ import annotations

import os

import pytest
import qtpy
from pytestqt.qt_compat import qt_api


@pytest.mark.both_qts
def test_the_requested_binding_is_used(qapp):
    requested = os.environ["QT_API"]
    assert qtpy.API_NAME.lower() == requested
    assert qt_api.pytest_qt_api == requested
    owners = {kind.__module__.split(".")[0].lower() for kind in type(qapp).__mro__}
    assert owners & {"pyqt6", "pyside6"} == {requested}
