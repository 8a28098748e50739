"""The benchmarks that are known by name, with what their cards say of them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ...errors import QuestionError
from .activitynet_qa import read_activitynet_qa
from .agqa import read_agqa
from .ms_qa import read_msrvtt_qa, read_msvd_qa
from .mvbench import read_mvbench
from .nextqa import read_nextgqa, read_nextqa, read_nextqa_open
from .reading import QuestionReading, Reader, SourceFolder, source_folder
from .star import read_star
from .tempcompass import read_tempcompass


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of video question answering.

    Args:
        name: Name by which it is asked for.
        title: Name in words.
        source: Data set and revision, which every row names.
        license: Licence of its questions as the Hub writes it, as the benchmark's own repository states it.
        read: Reads a split.
        splits: Names of the splits that were published. Any other is taken where files are named by it.
        homepage: Where it is published.
        is_one_split: Whether its files name no split, so that there is no other.
    """

    name: str
    title: str
    source: str
    license: str
    read: Reader
    splits: tuple[str, ...]
    homepage: str
    is_one_split: bool = False


_ALL = (
    Benchmark(
        *("nextqa", "NExT-QA, multiple choice", "nextqa@1.0", "mit", read_nextqa),
        *(("train", "val", "test"), "https://github.com/doc-doc/NExT-QA"),
    ),
    Benchmark(
        *("nextqa_open", "NExT-QA, open-ended", "nextqa_open@1.0", "mit", read_nextqa_open),
        *(("train", "val", "test"), "https://github.com/doc-doc/NExT-OE"),
    ),
    Benchmark(
        *("nextgqa", "NExT-GQA", "nextgqa@1.0", "mit", read_nextgqa),
        *(("train", "val", "test"), "https://github.com/doc-doc/NExT-GQA"),
    ),
    Benchmark(
        *("star", "STAR", "star@1.0", "apache-2.0", read_star),
        *(("train", "val", "test"), "https://github.com/csbobby/STAR_Benchmark"),
    ),
    Benchmark(
        *("agqa", "AGQA 2.0, balanced", "agqa@2.0", "mit", read_agqa),
        *(("train", "test"), "https://cs.stanford.edu/people/ranjaykrishna/agqa"),
    ),
    Benchmark(
        *("activitynet_qa", "ActivityNet-QA", "activitynet_qa@1.0", "apache-2.0", read_activitynet_qa),
        *(("train", "val", "test"), "https://github.com/MILVLG/activitynet-qa"),
    ),
    Benchmark(
        *("msvd_qa", "MSVD-QA", "msvd_qa@1.0", "bsd-3-clause", read_msvd_qa),
        *(("train", "val", "test"), "https://github.com/xudejing/video-question-answering"),
    ),
    Benchmark(
        *("msrvtt_qa", "MSRVTT-QA", "msrvtt_qa@1.0", "bsd-3-clause", read_msrvtt_qa),
        *(("train", "val", "test"), "https://github.com/xudejing/video-question-answering"),
    ),
    Benchmark(
        *("mvbench", "MVBench", "mvbench@1.0", "mit", read_mvbench, ("test",)),
        *("https://huggingface.co/datasets/OpenGVLab/MVBench", True),
    ),
    Benchmark(
        *("tempcompass", "TempCompass", "tempcompass@1.0", "cc-by-nc-4.0", read_tempcompass, ("test",)),
        *("https://github.com/llyx97/TempCompass", True),
    ),
)

BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}
"""Name -> benchmark."""


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        QuestionError: There is none.
    """
    if name not in BENCHMARKS:
        raise QuestionError(f"benchmark is {name!r}, expected one of {sorted(BENCHMARKS)}")
    return BENCHMARKS[name]


def read_benchmark(
    name: str,
    folder: str | os.PathLike,
    split: str,
    tolerant: bool = False,
    allow_incomplete: bool = False,
) -> QuestionReading:
    """The questions of a split of a benchmark; `rows()` of what is given reads them.

    Args:
        name: One of `BENCHMARKS`.
        folder: Folder of the benchmark's files, as they are published.
        split: Name of the split, as it is in the files' names.
        tolerant: Whether slips in JSON are mended that leave no doubt (`benchmarks.source_files`).
        allow_incomplete: Whether a benchmark of several files may lack some.

    Raises:
        QuestionError: There is no such benchmark or split, or (as rows are read) a file is missing or cannot be read.
    """
    benchmark = find_benchmark(name)
    return open_split(benchmark, source_folder(folder, benchmark.title, tolerant, allow_incomplete), split)


def open_split(benchmark: Benchmark, source: SourceFolder, split: str) -> QuestionReading:
    """A split of a benchmark whose files are in a folder.

    Raises:
        QuestionError: The benchmark has no split of that name.
    """
    if re.fullmatch(r"\w+(\.\w+)*", split) is None:  # it becomes part of files' names
        raise QuestionError(f"split is {split!r}, expected a name of letters, digits and underscores")
    if benchmark.is_one_split and split not in benchmark.splits:
        raise QuestionError(f"{benchmark.title} has the split {', '.join(benchmark.splits)} alone, not {split!r}")
    return QuestionReading(benchmark.read(source, split), benchmark.source, split, source.question_ids)
