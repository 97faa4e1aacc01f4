"""Networks, bundles, published weights and export; here the names of the bundles of this program."""

DEFAULT_BUNDLE = "lesion-small"
PROMPTED_BUNDLE = "lesion-click"  # answers clicks
DEFAULT_CLASSIFIER = "melanoma-small"
DEFAULT_PHONE_CLASSIFIER = "lesion-phone"  # for macroscopic photographs, such as those of smartphones
DEFAULT_TILE_MODEL = "tile-demo"  # for slides
AUTOMATIC = "auto"  # instead of a classifier: the default one for the type of photograph
