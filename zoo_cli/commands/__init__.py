"""The commands: flags in, one call of the pipeline, an answer out."""
