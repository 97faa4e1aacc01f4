"""All scenarios, in an order in which each comes after those that it needs."""

from __future__ import annotations

from golden.scenarios import RTOL_TRAINED, Copy, Dock, Scenario, Write
from golden.verbs_data import DATA_SETS
from golden.verbs_images import IMAGES
from golden.verbs_training import TRAINING

PHOTOS = [
    Copy("../phantom-lesion/few/lesion_0007.png", "photos/first.png"),
    Copy("../phantom-lesion/few/lesion_0008.png", "photos/second.png"),
]
MASK = Copy("../phantom-lesion/few/lesion_0007_mask.png", "photos/first_mask.png")
LESIONS_OF_ONE = [
    Copy("../phantom-lesion/few/lesion_0007.png", "photos/back_left_1_dermoscopy.png"),
    Copy("../phantom-lesion/few/lesion_0008.png", "photos/forearm_right_2_dermoscopy.png"),
]
ANALYZED = [Copy("../slide/plain", "results"), Copy("../phantom-slide/slides", "slides")]

DOCKS = [
    Scenario("dock-lesion", [*PHOTOS, Write("results/notes.txt", ""), Dock("lesion")], ["phantom-lesion"]),
    Scenario("dock-review", [*PHOTOS, Dock("review")], ["phantom-lesion"]),
    Scenario("dock-case", [*LESIONS_OF_ONE, Dock("case")], ["phantom-lesion"]),
    Scenario("dock-train", [Copy("../data-sets/set", "set"), Dock("train")], ["data-sets"], rtol=RTOL_TRAINED),
    Scenario(
        "dock-slide",
        [Copy("../phantom-slide/other/slide_0002.tif", "slides/section.tif"), Dock("slide")],
        ["phantom-slide"],
    ),
    Scenario("dock-slide-depth", [*ANALYZED, Dock("slide_depth")], ["slide"]),
    Scenario("dock-plugin", [*PHOTOS, MASK, Dock("plugin")], ["phantom-lesion"]),
]

SCENARIOS = [*IMAGES, *DATA_SETS, *TRAINING, *DOCKS]
