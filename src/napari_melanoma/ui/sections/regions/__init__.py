"""The Regions section: areas of a slide that a reader draws, paints or finds by color, with their classes."""
