"""Scores that need more than counts of pixels: of borders, and of objects."""
