"""Reasoning supervision: annotators, losses, data, trainer and evaluation for models that show where they look."""
