"""Tiles: arrays of elements, how they are read and how they are updated."""
