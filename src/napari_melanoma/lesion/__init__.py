"""One photograph or many: segmentation, measurements, results and review order."""
