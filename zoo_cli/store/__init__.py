"""Artifacts: their schemas, and the only readers and writers."""
