"""The Case dock: one patient with lesions and images."""
