"""Transferability metrics, one per file: arrays in, a float out. Higher is better in every one of them."""
