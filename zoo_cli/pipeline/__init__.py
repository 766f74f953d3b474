"""The stages, one file per command: read, check, call pure functions, write one artifact."""
