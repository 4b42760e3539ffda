"""Time and energy of training on analog arrays: constants, events, costs. Torch-free."""
