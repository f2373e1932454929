"""One look at everything, and its figures for Prometheus."""
