"""Temporal action segmentation: windows, labels of frames, long videos, timelines."""
