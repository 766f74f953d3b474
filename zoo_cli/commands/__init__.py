"""The commands: parse flags, call the pipeline once, print an answer."""
