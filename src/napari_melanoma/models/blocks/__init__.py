"""Modules shared by several architectures; they import torch, so import them inside functions only."""
