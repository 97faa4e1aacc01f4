"""The results of an analysis of a slide: its prediction and its heatmap."""
