"""The Display section of a slide: stain and colors, or the channels of a fluorescence slide."""
