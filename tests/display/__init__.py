"""See a stream move."""
