"""The class prediction of a photograph: its verdict, charts and heatmap controls, or why there is none."""
