"""Training of the shipped pico models; every module with a main runs as ``python -m train.pico.NAME``."""
