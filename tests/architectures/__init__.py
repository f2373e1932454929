"""Batch, Lambda, Kappa."""
