"""The Depth section of a slide: readings of the Breslow thickness, one for each reader."""
