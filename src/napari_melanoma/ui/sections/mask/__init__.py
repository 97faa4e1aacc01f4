"""The Mask and Region of interest sections of a photograph: options, brushes, strokes, clicks, Labels layers."""
