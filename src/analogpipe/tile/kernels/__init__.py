"""Loops over the elements of an array."""
