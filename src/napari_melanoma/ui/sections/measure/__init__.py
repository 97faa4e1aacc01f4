"""The Measure section of a slide: lengths, areas, angles, and counted points."""
