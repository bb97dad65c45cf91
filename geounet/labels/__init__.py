"""Labels of scenes: rasters and polygon files of any grid and CRS, on the scene's own grid."""
