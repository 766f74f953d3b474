"""Objectives, one per file: what a training step minimises."""
