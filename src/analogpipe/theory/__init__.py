"""Theory: bounds, and experiments on problems with known constants."""
