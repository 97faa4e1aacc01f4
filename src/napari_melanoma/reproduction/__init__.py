"""The papers reproduced."""
