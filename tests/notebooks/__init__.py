"""The notebooks: their form is law, and each runs against the real broker."""
