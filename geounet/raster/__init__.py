"""Rasters: describe, read, resample, write."""
