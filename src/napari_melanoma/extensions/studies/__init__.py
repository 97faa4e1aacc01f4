"""Studies: a random search over the options of a recipe, and the relation of area and probability of lesions."""
