"""Small networks in TensorFlow Lite files, run by `ai-edge-litert` on the CPU."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import DetectionError

MAX_BYTES = 256 * 2**20
"""Largest file that is opened. Networks of phones have a few megabytes."""


class LiteNetwork:
    """A network with one input and one output.

    Args:
        path: The file.
        input_shape: Shape that its input must have.
        output_shape: Shape that its output must have.

    Raises:
        DetectionError: `ai-edge-litert` is not installed, the file is missing, or it is another network.
    """

    def __init__(self, path: str | os.PathLike, input_shape: tuple[int, ...], output_shape: tuple[int, ...]):
        path = Path(path)
        if not path.is_file():
            raise DetectionError(f"{path} is missing")
        if path.stat().st_size > MAX_BYTES:
            raise DetectionError(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise DetectionError(f"{path.name} needs ai-edge-litert: pip install ai-edge-litert") from error
        try:
            # one thread: frames are many, and videos are worked on by several processes
            self._interpreter = Interpreter(model_path=str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise DetectionError(f"{path} is no network of TensorFlow Lite: {str(error).splitlines()[0]}") from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [tuple(int(side) for side in entry["shape"]) for entry in (*inputs, *outputs)]
        if shapes != [input_shape, output_shape]:
            raise DetectionError(f"{path} has the shapes {shapes}, expected {[input_shape, output_shape]}")
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.input_dtype: np.dtype = np.dtype(inputs[0]["dtype"])

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The output for an input, both with a batch of one in front."""
        self._interpreter.set_tensor(self._input, values.astype(self.input_dtype, copy=False))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)
