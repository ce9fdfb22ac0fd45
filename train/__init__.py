"""Recipes to read and copy."""
