"""geounet: satellite and aerial scenes to georeferenced masks and clean polygons.

Importing the package is cheap: torch, rasterio and the others are imported by the modules that use
them.
"""

__version__ = "0.1.0"
