"""Experts of one and of several domains."""
