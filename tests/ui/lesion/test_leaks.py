"""A photograph that was opened, analyzed and removed leaves no layer and no array in memory."""

from __future__ import annotations

import gc
import weakref

PATIENCE_MS = 60_000


def test_a_photograph_that_is_removed_leaves_no_layer_and_no_array(person, qtbot):
    person.opens()
    person.analyses()
    result = person.lesion.result
    held = (result.photograph.rgb, result.probability, result.smoothed, result.mask, result.roi.image)
    known = [weakref.ref(array) for array in held]
    known += [weakref.ref(getattr(layer, "__wrapped__", layer)) for layer in person.viewer.layers]
    del result, held
    for layer in list(reversed(person.viewer.layers)):
        person.viewer.layers.remove(layer)
    del layer
    person.waits()
    person.opens("the last")
    person.analyses()  # replaces data of the previous photograph, such as the ROI thumbnail

    def left():
        gc.unfreeze()
        gc.collect()
        return [ref() for ref in known if ref() is not None]

    qtbot.waitUntil(lambda: not left(), timeout=PATIENCE_MS)
    assert len(list(person.dock.sessions)) == 1
