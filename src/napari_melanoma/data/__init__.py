"""Data sets: tables and their harmonization, public collections, masks, splits and corrections."""
