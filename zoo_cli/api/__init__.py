"""The Python API: the commands as methods and functions that return values and print nothing."""
