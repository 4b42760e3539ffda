"""What is done to each element of an array: in two forms that agree, one of which an array uses."""
