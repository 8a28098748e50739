"""Reasoning supervision of video models.

Importing this package is cheap: no torch, no transformers. Import what you need from its rooms, for instance
`vidreason.guidance`, `vidreason.video` or `vidreason.rs`.
"""

__version__ = "0.1.0"
