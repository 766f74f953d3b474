"""The demonstration: what it draws."""
