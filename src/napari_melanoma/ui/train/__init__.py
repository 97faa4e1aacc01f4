"""The Train dock: recipe, data and start of a training."""
