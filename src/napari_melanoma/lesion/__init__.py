"""Analysis of lesions on photographs: segmentation, measurements, results, changes over time and review order."""
