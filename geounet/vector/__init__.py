"""Vectors: outlines, clean-up, measures, formats."""
