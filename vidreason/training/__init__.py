"""Training runs of any system: settings, the run from a task to a saved model, and trainers with exact step means.

A system adds a `Task` (`vidreason.training.task`), and classes of settings for its command line; nothing here knows
which systems there are.
"""
