"""Reports and exports of slides."""
