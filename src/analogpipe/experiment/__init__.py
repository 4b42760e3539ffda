"""Experiments: data, networks, and the training of one run."""
