"""Networks, model bundles, published weights and export: names of the default bundles and of the networks' arrays.

P1 to P4 are the papers whose networks are built here; ``extensions.papers.papers`` describes them.
"""

DEFAULT_BUNDLE = "lesion-small"
PROMPTED_BUNDLE = "lesion-click"  # segments by clicks and other prompts
DEFAULT_CLASSIFIER = "melanoma-small"
DEFAULT_PHONE_CLASSIFIER = "lesion-phone"  # for macroscopic photographs, such as those of smartphones
SKIN_MODEL = "skin-tissue"  # tissue of slides of skin; tissue classifiers of a reader start from it
DEFAULT_TILE_MODEL = SKIN_MODEL  # for slides
AUTOMATIC = "auto"  # instead of the name of a classifier: the default classifier for the type of photograph
IMAGE, CONTINUOUS, CATEGORIES = "image", "continuous", "categories"  # inputs of functions
LOGITS, PROBABILITIES = "logits", "probabilities"  # outputs of exported networks
DENSE_STEP = 4  # pixels of a tile along the side of a cell of its dense map
