"""The body map: a chart on which a site is set by a click."""
