"""Temporal action segmentation: a label for every frame of videos with many actions."""
