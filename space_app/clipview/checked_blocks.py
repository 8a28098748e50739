"""A page that looks at every value that a program sends, before Gradio does anything with it.

Gradio hands on what does not fit (a list where a choice belongs), fetches addresses that stand where a file belongs,
and answers many a wrong type with its own error's trace in the log and no word to the one who asked.
"""

from __future__ import annotations

import inspect
import logging
import math
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

logger = logging.getLogger(__name__)


class CheckedBlocks(gr.Blocks):
    """As `gr.Blocks`, with values that are checked: what is wrong with one is said, and its parameter named."""

    async def preprocess_data(self, block_fn, inputs, *args, **kwargs):
        """As Gradio's own, which turns values that were sent into a handler's arguments.

        Raises:
            gr.Error: A value is missing or not of its part's kind.
        """
        names = list(inspect.signature(block_fn.fn).parameters)
        if len(inputs) < len(block_fn.inputs):
            expected = ", ".join(names[: len(block_fn.inputs)])
            raise gr.Error(f"{len(inputs)} values were sent, expected: {expected}.", print_exception=False)
        for name, block, value in zip(names, block_fn.inputs, inputs, strict=False):
            problem = find_problem(block, value)
            if problem:
                raise gr.Error(f"{name}: {problem}.", print_exception=False)
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except Exception as error:  # the words of Gradio's own errors hold what was sent, or paths of this machine
            logger.warning("a request could not be read (%s)", type(error).__name__)
            text = "The request could not be read. A file has to be uploaded here first."
            raise gr.Error(text, print_exception=False) from None


def find_problem(block: Any, value: Any) -> str | None:
    """What is wrong with a value for a part of the page; None where it fits, or is nothing at all.

    Args:
        block: Part of the page that the value is for.
        value: Value as it was sent: anything that JSON can hold.
    """
    if value is None or isinstance(block, gr.State):
        return None
    if isinstance(block, gr.Video):
        return None if _is_upload(value) else "expected a file that was uploaded here"
    if isinstance(block, (gr.Dropdown, gr.Radio)):
        choices = [choice for _, choice in block.choices]
        return None if isinstance(value, str) and value in choices else f"expected one of {', '.join(choices)}"
    if isinstance(block, gr.Slider):
        lowest, highest = block.minimum, block.maximum
        return None if _is_number(value, lowest, highest) else f"expected a number from {lowest} to {highest}"
    if isinstance(block, gr.Checkbox):
        return None if isinstance(value, bool) else "expected true or false"
    if isinstance(block, gr.Textbox):
        fits = isinstance(value, str) and len(value) <= (block.max_length or math.inf)
        return None if fits else "expected a text, and a shorter one if it is one"
    return f"values for {type(block).__name__} are not taken"


def _is_upload(value: Any) -> bool:
    """Whether a value has the form of Gradio's note of an upload. Whether it is one, Gradio looks up."""
    # Gradio's own check of its note fails at one that holds no note of its kind
    if not isinstance(value, dict) or not isinstance(value.get("meta"), dict):
        return False
    try:
        path = FileData.model_validate(value, context={"validate_meta": True}).path
    except ValueError:
        return False
    return bool(path) and "\0" not in path and "://" not in path


def _is_number(value: Any, lowest: float, highest: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and lowest <= value <= highest
