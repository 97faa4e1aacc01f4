"""Image processing without files and windows: masks, measurements, color, hair, stain, registration, prompts."""
