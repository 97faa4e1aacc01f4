"""Real images with free licenses that ship with the package: photographs, a skin slide, and what is known of each."""
