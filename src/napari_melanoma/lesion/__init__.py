"""Analysis of photographs: segmentation, measurements, results and review order."""
