"""Images: decoded, augmented, kept."""
