"""README and docs run as tests."""
