"""The segmental edit score: are the predicted actions the right ones in the right order, however long each takes?"""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
The segmental edit score compares the order of the actions in two temporal segmentations and is blind to how long each
takes: 100 * (1 - d / n), where d is the Levenshtein distance between the two sequences of segment labels and n is the
length of the longer one, as a mean over videos. It punishes over-segmentation, which accuracy over frames hardly sees.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `list` of `int`): for each video, the predicted label of each frame; labels are whole
        numbers of at least 0. Numpy arrays are welcome.
    references (`list` of `list` of `int`): the true labels, in the same form and of the same lengths.
    background (`int`, `list` of `int` or `None`): segments with these labels are left out of both sequences; `None`
        for no background. It has no default, because published scores differ by ten points with it. Neighbours of a
        segment that was left out are not merged: the frames [1, 0, 1] are the sequence (1, 1) with background 0.
    ignore (`int`, `list` of `int` or `None`): frames whose reference has such a label are removed from both sides
        before segments are made, so that what lies on both sides of them can become one segment. Such a label may be
        negative. Defaults to `None`.

Returns:
    edit_score (`float` or `None`): in percent, [0, 100]; `None` where no frame counts. A video without a segment on
        either side (background only) scores 100, since nothing was there and nothing was predicted; with segments on
        one side only it scores 0, since each of them is an edit.
    num_videos (`int`): the videos that count.
    num_ignored_videos (`int`): the videos left out, because all their frames are ignored.
    num_frames (`int`): the frames that count.
    num_ignored_frames (`int`): the frames left out.
    num_predicted_segments (`int`): the predicted segments, without background.
    num_reference_segments (`int`): the reference segments, without background.

Raises:
    ValueError: there are no videos at all, a video is missing or has no frames, its two sides differ in length, a
        label of a frame that counts is no whole number of at least 0, or an argument has none of its values. The
        message names the video and the frame.

Examples:

    The sequences are (1, 3, 2) and (1, 2): one edit in three.
        >>> edit_score = evaluate.load("edit_score")
        >>> result = edit_score.compute(predictions=[[1, 3, 2, 2]], references=[[1, 1, 1, 2]], background=None)
        >>> round(result["edit_score"], 3)
        66.667

    Where label 3 is background they are the same.
        >>> edit_score = evaluate.load("edit_score")
        >>> edit_score.compute(predictions=[[1, 3, 2, 2]], references=[[1, 1, 1, 2]], background=3)["edit_score"]
        100.0
"""

_CITATION = """
@inproceedings{lea2016segmental,
  title={Segmental Spatiotemporal {CNNs} for Fine-Grained Action Segmentation},
  author={Lea, Colin and Reiter, Austin and Vidal, Ren{\\'e} and Hager, Gregory D.},
  booktitle={European Conference on Computer Vision},
  year={2016}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class EditScore(evaluate.Metric):
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
            reference_urls=["https://arxiv.org/abs/1602.02995"],
        )

    def _compute(self, predictions, references, *, background, ignore=None):
        background = _read_label_set("background", background)
        ignore = _read_label_set("ignore", ignore)
        if len(predictions) == 0:
            raise ValueError("edit_score: there are no videos to score")

        scores, sizes = [], []
        for video, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
            predicted, true = _counted_frames(video, prediction, reference, ignore)
            sequences = [_segment_labels(labels, background) for labels in (predicted, true)]
            sizes.append((len(true), len(reference) - len(true), len(sequences[0]), len(sequences[1])))
            if len(true):
                scores.append(_score(*sequences))
        num_frames, num_ignored_frames, num_predicted, num_reference = map(sum, zip(*sizes, strict=True))
        return {
            "edit_score": float(np.mean(scores)) if scores else None,
            "num_videos": len(scores),
            "num_ignored_videos": len(predictions) - len(scores),
            "num_frames": num_frames,
            "num_ignored_frames": num_ignored_frames,
            "num_predicted_segments": num_predicted,
            "num_reference_segments": num_reference,
        }


def _segment_labels(labels, background):
    """The label of each segment that is no background: labels of shape (frames,) to shape (segments,)."""
    segments = labels[np.flatnonzero(np.diff(labels, prepend=-1))]  # no label is -1, so frame 0 opens a segment
    return segments[~np.isin(segments, background)]


def _score(predicted, true):
    """The score of one video in percent, from two arrays of segment labels."""
    longer = max(len(predicted), len(true))
    return 100.0 * (1 - _levenshtein(predicted, true) / longer) if longer else 100.0


def _levenshtein(first, second):
    """Insertions, deletions and substitutions that turn one array of labels into the other.

    The table of distances is filled along its anti-diagonals, whose entries do not depend on one another, so that each
    is one step of numpy. Three of them are held, indexed by the row: memory is linear, time is the product of lengths.
    """
    rows, columns = len(first), len(second)
    second_reversed = np.ascontiguousarray(second[::-1])
    two_back, one_back, current = (np.zeros(rows + 1, dtype=np.int32) for _ in range(3))
    for diagonal in range(1, rows + columns + 1):  # row + column
        if diagonal <= columns:
            current[0] = diagonal
        if diagonal <= rows:
            current[diagonal] = diagonal
        start, stop = max(1, diagonal - columns), min(rows, diagonal - 1) + 1  # rows of at least 1, columns too
        if start < stop:
            shift = columns - diagonal  # second[column - 1] is second_reversed[shift + row]
            differs = first[start - 1 : stop - 1] != second_reversed[shift + start : shift + stop]
            entries = current[start:stop]
            np.minimum(one_back[start - 1 : stop - 1], one_back[start:stop], out=entries)
            entries += 1
            np.minimum(entries, two_back[start - 1 : stop - 1] + differs, out=entries)
        two_back, one_back, current = one_back, current, two_back
    return int(one_back[rows])


def _read_label_set(name, labels):
    """An argument that is one label, several or `None`, as an array of shape (labels,)."""
    labels = [] if labels is None else [labels] if np.isscalar(labels) else list(labels)
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
            raise ValueError(f"edit_score: {name} must be whole numbers, got {label!r}")
    return np.array(labels, dtype=np.int64)


def _counted_frames(video, prediction, reference, ignore):
    """The labels of the frames of a video whose reference is not ignored: two arrays of shape (counted frames,)."""
    if prediction is None or reference is None:
        raise ValueError(f"edit_score: video {video}: its labels are missing")
    if len(prediction) != len(reference):
        lengths = f"{len(prediction)} predicted and {len(reference)} reference frames"
        raise ValueError(f"edit_score: video {video}: {lengths}")
    if len(reference) == 0:
        raise ValueError(f"edit_score: video {video}: it has no frames")
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
            f"edit_score: {where}: {name} {labels[bad[0]]:g} is not a label (a whole number of at least 0)"
        )
    return labels.astype(np.int64)
