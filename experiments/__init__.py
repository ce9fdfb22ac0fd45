"""Studies that use training and evaluation together; not installed."""
