"""Training runs: from a recipe to a bundle, acceptance of a new model, and search."""
