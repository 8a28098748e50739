"""Clips for training: data sets, transforms that move pixels and grids together, collators, packed clips."""
