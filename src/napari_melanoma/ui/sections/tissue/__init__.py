"""The Tissue section of a slide: detection of tissue, and its manual correction in a layer."""
