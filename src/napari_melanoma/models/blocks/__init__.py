"""Building blocks of several architectures. Except for ``options`` they import torch: import them in functions only."""
