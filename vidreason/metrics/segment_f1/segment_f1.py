"""Segmental F1 at overlap thresholds: are the predicted actions there, and roughly where the true ones are?"""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Segmental F1 (F1@k) counts a predicted segment of a temporal segmentation as right if it overlaps a true segment of the
same label with an intersection over union of at least k percent. Each true segment is hit once; further hits are false
positives. It punishes over-segmentation and forgives small shifts of the boundaries.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `list` of `int`): for each video, the predicted label of each frame; labels are whole
        numbers of at least 0. Numpy arrays are welcome.
    references (`list` of `list` of `int`): the true labels, in the same form and of the same lengths.
    background (`int`, `list` of `int` or `None`): segments with these labels are neither predicted nor true segments;
        `None` for no background. It has no default, because published scores differ by ten points with it.
    ignore (`int`, `list` of `int` or `None`): frames whose reference has such a label are removed from both sides
        before segments are made, so that what lies on both sides of them can become one segment. Such a label may be
        negative. Defaults to `None`.
    thresholds (`float` or `list` of `float`): the least overlap of a hit, in percent (0, 100]. Defaults to
        (10, 25, 50).
    average (`str`): "video" takes the mean of the F1 of the videos, as published with ED-TCN; "pooled" adds up true
        positives, false positives and misses of all videos first, as published with MS-TCN. Defaults to "video".
    shorten_last_segment (`bool` or `None`): whether the last segment of a sequence ends at its last frame instead of
        after it, so that it is one frame shorter than it is (an oversight in the code published with MS-TCN, corrected
        there in 2020, and copied by later work). A last segment of one frame then has length 0, overlaps nothing, and
        is a false positive or a miss. Defaults to `None`, which follows the code published first with each average:
        `False` for "video", `True` for "pooled".

Returns:
    f1@<k> (`float` or `None`): for each threshold, 200 * true positives / (predicted + reference segments), [0, 100];
        `None` where no frame counts. Without a segment on either side (background only) it is 100, since nothing was
        there and nothing was predicted; with segments on one side only it is 0. Both hold for each video with "video",
        and for the sums with "pooled".
    true_positives@<k> (`int`): for each threshold, the reference segments of all videos that were hit.
    num_predicted_segments (`int`): without background; those that are no true positives are false positives.
    num_reference_segments (`int`): without background; those that are no true positives are misses.
    num_videos (`int`): the videos that count.
    num_ignored_videos (`int`): the videos left out, because all their frames are ignored.
    num_frames (`int`): the frames that count.
    num_ignored_frames (`int`): the frames left out.

Raises:
    ValueError: there are no videos at all, a video is missing or has no frames, its two sides differ in length, a
        label of a frame that counts is no whole number of at least 0, or an argument has none of its values. The
        message names the video and the frame.

Examples:

    The segment of label 1 is found with an overlap of 2 / 3, that of label 2 with one of 3 / 4.
        >>> segment_f1 = evaluate.load("segment_f1")
        >>> predictions, references = [[1, 1, 2, 2, 2, 2]], [[1, 1, 1, 2, 2, 2]]
        >>> result = segment_f1.compute(
        ...     predictions=predictions, references=references, background=None, thresholds=(50, 70)
        ... )
        >>> result["f1@50"], result["f1@70"]
        (100.0, 50.0)
        >>> result["true_positives@70"], result["num_predicted_segments"], result["num_reference_segments"]
        (1, 2, 2)

    A segment that falls into two pieces: one hit, one false positive.
        >>> segment_f1 = evaluate.load("segment_f1")
        >>> result = segment_f1.compute(
        ...     predictions=[[1, 1, 0, 1, 1]], references=[[1, 1, 1, 1, 1]], background=0, thresholds=25
        ... )
        >>> round(result["f1@25"], 3)
        66.667
"""

_CITATION = """
@inproceedings{lea2017temporal,
  title={Temporal Convolutional Networks for Action Segmentation and Detection},
  author={Lea, Colin and Flynn, Michael D. and Vidal, Ren{\\'e} and Reiter, Austin and Hager, Gregory D.},
  booktitle={IEEE Conference on Computer Vision and Pattern Recognition},
  year={2017}
}
@inproceedings{farha2019mstcn,
  title={{MS-TCN}: Multi-Stage Temporal Convolutional Network for Action Segmentation},
  author={Abu Farha, Yazan and Gall, J{\\"u}rgen},
  booktitle={IEEE Conference on Computer Vision and Pattern Recognition},
  year={2019}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class SegmentF1(evaluate.Metric):
    """Made by `evaluate.load`; its `compute` takes the arguments above."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    # float64, because an integer column would cut 1.5 to 1 without a word
                    "predictions": datasets.List(datasets.Value("float64")),
                    "references": datasets.List(datasets.Value("float64")),
                }
            ),
            reference_urls=["https://arxiv.org/abs/1611.05267", "https://arxiv.org/abs/1903.01945"],
        )

    def _compute(
        self,
        predictions,
        references,
        *,
        background,
        ignore=None,
        thresholds=(10, 25, 50),
        average="video",
        shorten_last_segment=None,
    ):
        background = _read_label_set("background", background)
        ignore = _read_label_set("ignore", ignore)
        thresholds = _read_thresholds(thresholds)
        shorten = _read_shorten(shorten_last_segment, average)
        if len(predictions) == 0:
            raise ValueError("segment_f1: there are no videos to score")

        of_videos, num_frames = [], 0
        for video, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
            predicted, true = _counted_frames(video, prediction, reference, ignore)
            num_frames += len(true)
            if len(true):
                of_videos.append(_count(predicted, true, background, thresholds, shorten))
        counts = np.array(of_videos, dtype=np.int64).reshape(-1, 2 + len(thresholds))
        num_predicted, num_reference, *hits = counts.sum(axis=0).tolist()
        return {
            **{f"f1@{k}": f1 for k, f1 in zip(thresholds, _f1(counts, average), strict=True)},
            **{f"true_positives@{k}": hit for k, hit in zip(thresholds, hits, strict=True)},
            "num_predicted_segments": num_predicted,
            "num_reference_segments": num_reference,
            "num_videos": len(counts),
            "num_ignored_videos": len(predictions) - len(counts),
            "num_frames": num_frames,
            "num_ignored_frames": sum(map(len, references)) - num_frames,
        }


def _f1(counts, average):
    """F1 in percent for each threshold, or `None`; counts of shape (videos, 2 + thresholds) as `_count` has them."""
    if len(counts) == 0:
        return [None] * (counts.shape[1] - 2)
    if average == "pooled":
        counts = counts.sum(axis=0, keepdims=True)
    segments, hits = counts[:, :2].sum(axis=1, keepdims=True), counts[:, 2:]
    f1 = np.where(segments > 0, 200.0 * hits / np.maximum(segments, 1), 100.0)  # no segment on either side: 100
    return f1.mean(axis=0).tolist()


def _count(predicted, true, background, thresholds, shorten):
    """Predicted segments, reference segments, and the true positives at each threshold, of one video.

    Both sequences are cut wherever either changes its label. A pair of segments that overlap shares exactly one such
    piece, so there are fewer pieces than segments in both, and no pair without overlap is ever looked at.
    """
    end = len(true) - 1 if shorten else len(true)
    starts = [np.flatnonzero(np.diff(labels, prepend=-1)) for labels in (predicted, true)]  # no label is -1
    lengths = [np.diff(start, append=end) for start in starts]
    piece_starts = np.union1d(*starts)
    overlaps = np.diff(piece_starts, append=end)
    segments = [np.searchsorted(start, piece_starts, side="right") - 1 for start in starts]
    action = ~np.isin(predicted[piece_starts], background)
    same = (predicted[piece_starts] == true[piece_starts]) & action & (overlaps > 0)

    first, second = (segment[same] for segment in segments)
    overlaps = overlaps[same]
    ious = overlaps / (lengths[0][first] + lengths[1][second] - overlaps)
    # the largest overlap of each predicted segment, and the earliest of equal ones
    order = np.lexsort((second, -ious, first))
    best = order[np.unique(first[order], return_index=True)[1]]
    num_predicted, num_reference = (
        int((~np.isin(labels[start], background)).sum())
        for labels, start in zip((predicted, true), starts, strict=True)
    )
    return num_predicted, num_reference, *(len(np.unique(second[best][ious[best] >= k / 100])) for k in thresholds)


def _read_thresholds(thresholds):
    """The thresholds as a list of numbers in (0, 100], whole ones as int."""
    values: list = [thresholds] if np.isscalar(thresholds) else list(thresholds)  # whatever a caller gives
    if not values:
        raise ValueError("segment_f1: thresholds is empty")
    for value in values:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float, np.integer, np.floating))
            or not 0 < value <= 100
        ):
            raise ValueError(f"segment_f1: thresholds must be percentages in (0, 100], got {value!r}")
    return [int(value) if value == int(value) else float(value) for value in values]


def _read_shorten(shorten_last_segment, average):
    """Whether the last segments are one frame shorter, as asked or as published with that average."""
    if average not in ("video", "pooled"):
        raise ValueError(f"segment_f1: average must be 'video' or 'pooled', got {average!r}")
    if shorten_last_segment is None:
        return average == "pooled"
    if not isinstance(shorten_last_segment, bool):
        raise ValueError(f"segment_f1: shorten_last_segment must be True, False or None, got {shorten_last_segment!r}")
    return shorten_last_segment


def _read_label_set(name, labels):
    """An argument that is one label, several or `None`, as an array of shape (labels,)."""
    labels = [] if labels is None else [labels] if np.isscalar(labels) else list(labels)
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
            raise ValueError(f"segment_f1: {name} must be whole numbers, got {label!r}")
    return np.array(labels, dtype=np.int64)


def _counted_frames(video, prediction, reference, ignore):
    """The labels of the frames of a video whose reference is not ignored: two arrays of shape (counted frames,)."""
    if prediction is None or reference is None:
        raise ValueError(f"segment_f1: video {video}: its labels are missing")
    if len(prediction) != len(reference):
        lengths = f"{len(prediction)} predicted and {len(reference)} reference frames"
        raise ValueError(f"segment_f1: video {video}: {lengths}")
    if len(reference) == 0:
        raise ValueError(f"segment_f1: video {video}: it has no frames")
    prediction, reference = (np.asarray(labels, dtype=np.float64) for labels in (prediction, reference))
    frames = np.flatnonzero(~np.isin(reference, ignore))
    return (
        _check_labels(video, frames, prediction[frames], "prediction"),
        _check_labels(video, frames, reference[frames], "reference"),
    )


def _check_labels(video, frames, labels, name):
    """The labels as int64, all arrays of shape (frames,). Whole numbers from 2**53 on are not exact in float64."""
    bad = np.flatnonzero(~((labels >= 0) & (labels < 2**53) & (labels == np.floor(labels))))
    if len(bad):
        where = f"video {video}: frame {frames[bad[0]]}"
        raise ValueError(
            f"segment_f1: {where}: {name} {labels[bad[0]]:g} is not a label (a whole number of at least 0)"
        )
    return labels.astype(np.int64)
