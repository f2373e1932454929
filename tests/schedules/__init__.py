"""Schedules: moments, plans, slots, and the scheduler."""
