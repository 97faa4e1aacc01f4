"""Whole slides of any format behind one interface: opened, read region by region, shown as layers."""
