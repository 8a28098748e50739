"""Mean over frames: the percentage of frames whose predicted label is the reference label."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Mean over frames (MoF, frame-wise accuracy) is the percentage of frames of a temporal segmentation that have the right
label. Frames whose reference has an ignored label are left out and counted.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `list` of `int`): for each video, the predicted label of each frame; labels are whole
        numbers of at least 0. Numpy arrays are welcome.
    references (`list` of `list` of `int`): the true labels, in the same form and of the same lengths.
    average (`str`): "pooled" puts the frames of all videos into one pool, so long videos weigh more; "video" takes the
        mean of the accuracies of the videos. Defaults to "pooled".
    ignore (`int`, `list` of `int` or `None`): frames whose reference has such a label do not count, whatever is
        predicted there. Such a label may be negative. Defaults to `None`.

Returns:
    mof (`float` or `None`): in percent, [0, 100]; `None` where no frame counts.
    num_videos (`int`): the videos with a frame that counts.
    num_ignored_videos (`int`): the videos left out, because all their frames are ignored.
    num_frames (`int`): the frames that count.
    num_ignored_frames (`int`): the frames left out.

Raises:
    ValueError: there are no videos at all, a video is missing or has no frames, its two sides differ in length, a
        label of a frame that counts is no whole number of at least 0, or an argument has none of its values. The
        message names the video and the frame.

Examples:

    Three of four frames are right. Per video it is one of one and two of three.
        >>> mof = evaluate.load("mof")
        >>> mof.compute(predictions=[[1], [1, 2, 2]], references=[[1], [1, 1, 2]])["mof"]
        75.0
        >>> result = mof.compute(predictions=[[1], [1, 2, 2]], references=[[1], [1, 1, 2]], average="video")
        >>> round(result["mof"], 3)
        83.333

    Unlabelled frames do not count.
        >>> mof = evaluate.load("mof")
        >>> mof.compute(predictions=[[1, 2, 2]], references=[[1, 1, -100]], ignore=-100)
        {'mof': 50.0, 'num_videos': 1, 'num_ignored_videos': 0, 'num_frames': 2, 'num_ignored_frames': 1}
"""

_CITATION = """
@inproceedings{farha2019mstcn,
  title={{MS-TCN}: Multi-Stage Temporal Convolutional Network for Action Segmentation},
  author={Abu Farha, Yazan and Gall, J{\\"u}rgen},
  booktitle={IEEE Conference on Computer Vision and Pattern Recognition},
  year={2019}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Mof(evaluate.Metric):
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
            reference_urls=["https://arxiv.org/abs/1903.01945"],
        )

    def _compute(self, predictions, references, average="pooled", ignore=None):
        if average not in ("pooled", "video"):
            raise ValueError(f"mof: average must be 'pooled' or 'video', got {average!r}")
        ignore = _read_label_set("ignore", ignore)
        if len(predictions) == 0:
            raise ValueError("mof: there are no videos to score")

        hits, counted, frames = [], [], []
        for video, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
            predicted, true = _counted_frames(video, prediction, reference, ignore)
            hits.append(int((predicted == true).sum()))
            counted.append(len(true))
            frames.append(len(reference))
        return {
            "mof": _mean(hits, counted, average),
            "num_videos": sum(count > 0 for count in counted),
            "num_ignored_videos": sum(count == 0 for count in counted),
            "num_frames": sum(counted),
            "num_ignored_frames": sum(frames) - sum(counted),
        }


def _mean(hits, counted, average):
    """Accuracy in percent from the hits and the counted frames of each video; `None` without counted frames."""
    if sum(counted) == 0:
        return None
    if average == "pooled":
        return 100.0 * sum(hits) / sum(counted)
    return float(np.mean([100.0 * hit / count for hit, count in zip(hits, counted, strict=True) if count]))


def _read_label_set(name, labels):
    """An argument that is one label, several or `None`, as an array of shape (labels,)."""
    labels = [] if labels is None else [labels] if np.isscalar(labels) else list(labels)
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
            raise ValueError(f"mof: {name} must be whole numbers, got {label!r}")
    return np.array(labels, dtype=np.int64)


def _counted_frames(video, prediction, reference, ignore):
    """The labels of the frames of a video whose reference is not ignored: two arrays of shape (counted frames,)."""
    if prediction is None or reference is None:
        raise ValueError(f"mof: video {video}: its labels are missing")
    if len(prediction) != len(reference):
        raise ValueError(f"mof: video {video}: {len(prediction)} predicted and {len(reference)} reference frames")
    if len(reference) == 0:
        raise ValueError(f"mof: video {video}: it has no frames")
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
        raise ValueError(f"mof: {where}: {name} {labels[bad[0]]:g} is not a label (a whole number of at least 0)")
    return labels.astype(np.int64)
