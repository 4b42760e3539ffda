"""Layers whose weights live in tiles, for use in any torch module."""
