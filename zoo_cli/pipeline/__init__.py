"""One command a file: read, check, call pure functions, write one artifact, report."""
