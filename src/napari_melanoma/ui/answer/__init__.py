"""What a model says of a lesion, and how a dock shows it."""
