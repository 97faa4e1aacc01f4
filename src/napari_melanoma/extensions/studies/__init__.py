"""Studies: search over options of a recipe, area and probability of lesions, and predictions from tables alone."""
