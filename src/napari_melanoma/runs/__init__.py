"""Training runs: from a recipe to a bundle, the gate, and search."""
