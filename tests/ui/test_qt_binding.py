"""The Qt under which the tests claim to run is the one that runs them; what it passes to slots is not mistaken."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
import qtpy
from pytestqt.qt_compat import qt_api

import napari_melanoma.ui

PRESSED = ("clicked", "triggered")
NAMES_OF_PRESSES = ("checked", "_")


@pytest.mark.both_qts
def test_the_requested_binding_is_used(qapp):
    requested = os.environ["QT_API"]
    assert qtpy.API_NAME.lower() == requested
    assert qt_api.pytest_qt_api == requested
    owners = {kind.__module__.split(".")[0].lower() for kind in type(qapp).__mro__}
    assert owners & {"pyqt6", "pyside6"} == {requested}


def list_connections(module):
    """The methods of a module that are connected to presses, with the arguments that may be given by position."""
    methods = {node.name: node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(tuple(f"{one}.connect" for one in PRESSED)):
            for slot in node.args:
                if isinstance(slot, ast.Attribute) and slot.attr in methods and ast.unparse(slot.value) == "self":
                    yield slot.attr, methods[slot.attr].args


def test_whether_a_button_is_checked_is_taken_for_nothing_else():
    """Qt passes it to whatever takes an argument."""
    wrong, count = [], 0
    for path in Path(napari_melanoma.ui.__file__).parent.rglob("*.py"):
        for name, arguments in list_connections(ast.parse(path.read_text(encoding="utf-8"))):
            count += 1
            optional = arguments.args[1:][len(arguments.args) - 1 - len(arguments.defaults) :]
            wrong += [f"{path.name}: {name}({one.arg})" for one in optional if one.arg not in NAMES_OF_PRESSES]
    assert count > 50
    assert wrong == []
