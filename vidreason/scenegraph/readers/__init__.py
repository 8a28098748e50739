"""Scene graphs from annotations that others published: a reader for each, and counts of what each left out."""

from .reading import ReadingReport, Unusable
from .videos import KnownVideos, VideoFacts, read_video_facts
from .vidor import read_vidor, read_vidor_file, vidor_files

__all__ = [
    "KnownVideos",
    "ReadingReport",
    "Unusable",
    "VideoFacts",
    "read_video_facts",
    "read_vidor",
    "read_vidor_file",
    "vidor_files",
]
