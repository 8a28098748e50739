"""Benchmarks of video question answering, read from the files that their authors publish."""

from .reading import REASONS, Drop, Dropped, QuestionReading, find_time_drop
from .registry import BENCHMARKS, Benchmark, read_benchmark

__all__ = [
    "BENCHMARKS",
    "REASONS",
    "Benchmark",
    "Drop",
    "Dropped",
    "QuestionReading",
    "find_time_drop",
    "read_benchmark",
]
