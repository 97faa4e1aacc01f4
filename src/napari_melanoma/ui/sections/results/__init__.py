"""The results of an analysis of a slide: its prediction, its heatmap, and the area and probability of its lesions."""
