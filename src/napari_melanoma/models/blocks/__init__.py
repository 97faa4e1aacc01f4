"""Parts that several networks of the zoo share; they import torch, so import them inside functions."""
