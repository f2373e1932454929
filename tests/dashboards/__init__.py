"""A notebook as a live page."""
