"""Runs of reasoning supervision: from arguments to a trained model with its card."""

from __future__ import annotations

from ..training.arguments import DataArguments, ModelArguments, parse_arguments
from ..training.run import RunResult, run_training

__all__ = ["DataArguments", "ModelArguments", "RunResult", "parse_arguments", "run_training"]
