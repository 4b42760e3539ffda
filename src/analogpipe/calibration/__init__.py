"""Calibration: from pulse trains on an array to the parameters of its device."""
