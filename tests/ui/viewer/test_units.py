"""The units of layers, which are read in advance."""

from __future__ import annotations

import pint
import pytest

from napari_melanoma.ui.viewer.units import read_units, use_units


@pytest.fixture
def application():
    """The units that layers use, as before the first layer."""
    application = pint.get_application_registry()
    previous = application.get()
    application.set(pint.LazyRegistry())
    yield application
    application.set(previous)


def test_units_that_were_read_in_advance_are_those_of_pint(application):
    units = read_units()
    assert isinstance(application.get(), pint.LazyRegistry), "only the window may change them"
    use_units(units)
    assert application.get() is units
    own = pint.UnitRegistry()
    assert set(units) == set(own)
    assert pint.Quantity(2.5, "mm").to("um").magnitude == own.Quantity(2.5, "mm").to("um").magnitude


def test_units_in_use_stay(application):
    layer_unit = application.micrometer
    used = application.get()
    use_units(read_units())
    assert application.get() is used
    assert (1 * layer_unit).to("millimeter").magnitude == pytest.approx(0.001)
