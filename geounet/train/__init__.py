"""Training: samples, augmentation, loss, the loop."""
