"""Reasoning supervision: losses, evidence views, trainer and evaluation for models that show where they look.

`run` is where a training run starts, and `tasks` is the pattern of a system that adds training to the house.
"""
