"""Devices: the parameters of elements, published presets, what a pulse does to an element."""
