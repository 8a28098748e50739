"""Scene graphs from annotations that others published: a reader for each, and counts of what each left out."""

from .action_genome import open_action_genome, read_action_genome, split_of_videos
from .reading import ReadingReport, Unusable
from .star import StarClasses, StarSettings, read_star, read_star_classes, star_files
from .videos import KnownVideos, VideoFacts, read_video_facts
from .vidor import read_vidor, read_vidor_file, vidor_files

__all__ = [
    "KnownVideos",
    "ReadingReport",
    "StarClasses",
    "StarSettings",
    "Unusable",
    "VideoFacts",
    "open_action_genome",
    "read_action_genome",
    "read_star",
    "read_star_classes",
    "read_video_facts",
    "read_vidor",
    "read_vidor_file",
    "split_of_videos",
    "star_files",
    "vidor_files",
]
