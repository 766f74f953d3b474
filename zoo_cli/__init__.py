"""zoo: choose, weigh and distil pretrained models into one small, accurate student."""

__version__ = "0.1.0"
