"""Known data sets in the layout of their release: each is checked against its own lists before a video is opened.

A `read_*` function looks at names and lists only, and gives a `KnownLayout` or an error that names all that is missing
or misplaced. `build_layout` then reads the videos and writes the manifest, as `vidreason.manifests.video_folder` does.
"""

from ..captions import read_captions
from .desktop_assembly import build_desktop_assembly, read_desktop_assembly
from .gmdcsa24 import build_gmdcsa24, read_gmdcsa24
from .kinetics import read_kinetics400, read_mimetics
from .known import KnownLayout, LayoutArguments, build_layout, describe_reports
from .multisports import build_multisports, describe_instances, read_multisports
from .something_something import build_something_something_v2, read_something_something_v2
from .timed_labels import describe_notes
from .ucf50 import read_ucf50
from .ucf101 import read_ucf101

__all__ = [
    "KnownLayout",
    "LayoutArguments",
    "build_desktop_assembly",
    "build_gmdcsa24",
    "build_layout",
    "build_multisports",
    "build_something_something_v2",
    "describe_instances",
    "describe_notes",
    "describe_reports",
    "read_captions",
    "read_desktop_assembly",
    "read_gmdcsa24",
    "read_kinetics400",
    "read_mimetics",
    "read_multisports",
    "read_something_something_v2",
    "read_ucf50",
    "read_ucf101",
]
