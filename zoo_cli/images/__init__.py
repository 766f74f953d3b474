"""Decoding, augmentation, counter-based random numbers and the pixel cache."""
