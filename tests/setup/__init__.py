"""What this machine needs."""
