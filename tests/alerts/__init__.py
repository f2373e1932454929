"""Rules, the life of an alert, channels, and the watch."""
