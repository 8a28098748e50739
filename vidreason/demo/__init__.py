"""The main job in one command: released models on a freshly drawn world, one of them mended there, and a report.

    python -m vidreason.demo --output_dir outputs/demo

It evaluates the models of `release/` on test clips that are rendered here and that none of them has seen, goes on
training the plainly trained one with supervision and, beside it, without, and writes `report.json`, `curves.png`,
`overlay.png`, `overlay.mp4`, `overlay.webp`, `second_look.png` and the two models under `models/`.
"""

from .run import DemoArguments, run_demo

__all__ = ["DemoArguments", "run_demo"]
