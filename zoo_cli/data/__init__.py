"""Data set providers, one per file, and the drawing of splits."""
