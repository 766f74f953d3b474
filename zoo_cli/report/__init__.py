"""The page of `zoo report`: its blocks, plots, template and style. Arrays and texts in, HTML out; no files are read."""
