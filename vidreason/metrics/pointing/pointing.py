"""The pointing game on token grids: does a model's most attended cell lie in the region that holds the evidence?"""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Pointing accuracy is the fraction of frames in which the cell that a model attends to most lies inside the guided
region (the pointing game of Zhang et al., 2016, played on the cells of a token grid instead of on pixels).
Frames without a guided region and padded frames are left out and counted.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `int`): for each frame, the row-major index of the cell that the model attends to most;
        `ignore_index` for a padded frame.
    references (`list` of `list` of `int`): for each frame, the row-major indices of the cells in the guided region;
        empty where the frame has no guidance.
    ignore_index (`int`): the prediction that marks a padded frame. Defaults to -100.

Returns:
    pointing_accuracy (`float` or `None`): hits / frames that count, in [0, 1]; `None` where no frame counts.
    num_frames (`int`): the frames that count.
    num_ignored (`int`): the frames left out, for an empty region or for padding.

Raises:
    ValueError: there are no frames at all, or a cell index is negative; the message names the frame.

Examples:

    The first frame is a hit, the second a miss.
        >>> pointing = evaluate.load("pointing")
        >>> pointing.compute(predictions=[5, 3], references=[[5, 6], [9, 10]])
        {'pointing_accuracy': 0.5, 'num_frames': 2, 'num_ignored': 0}

    A frame without guidance and a padded frame do not count.
        >>> pointing = evaluate.load("pointing")
        >>> pointing.compute(predictions=[5, 3, -100], references=[[5, 6], [], [0]])
        {'pointing_accuracy': 1.0, 'num_frames': 1, 'num_ignored': 2}

    Where no frame counts there is no accuracy.
        >>> pointing = evaluate.load("pointing")
        >>> pointing.compute(predictions=[3], references=[[]])
        {'pointing_accuracy': None, 'num_frames': 0, 'num_ignored': 1}
"""

_CITATION = """
@inproceedings{zhang2016excitation,
  title={Top-down Neural Attention by Excitation Backprop},
  author={Zhang, Jianming and Lin, Zhe and Brandt, Jonathan and Shen, Xiaohui and Sclaroff, Stan},
  booktitle={European Conference on Computer Vision},
  year={2016}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Pointing(evaluate.Metric):
    """Made by `evaluate.load`; its `compute` takes the arguments above."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.Value("int32"),
                    "references": datasets.List(datasets.Value("int32")),
                }
            ),
            reference_urls=["https://arxiv.org/abs/1608.00507"],
        )

    def _compute(self, predictions, references, ignore_index=-100):
        if len(predictions) == 0:
            raise ValueError("pointing: there are no frames to score")
        cells = np.asarray(predictions, dtype=np.int64)
        sizes = np.fromiter(map(len, references), dtype=np.int64, count=len(references))
        frame_of_entry, region_cells = _flatten(references, sizes)
        padded = cells == ignore_index
        _check_cells(cells, ~padded, np.arange(len(cells)), "prediction")
        _check_cells(region_cells, np.ones_like(region_cells, dtype=bool), frame_of_entry, "reference")

        hit = np.zeros(len(cells), dtype=bool)
        hit[frame_of_entry[region_cells == cells[frame_of_entry]]] = True
        counts = ~padded & (sizes > 0)
        num_frames = int(counts.sum())
        return {
            "pointing_accuracy": float(hit[counts].mean()) if num_frames else None,
            "num_frames": num_frames,
            "num_ignored": len(cells) - num_frames,
        }


def _flatten(references, sizes):
    """Lists of cells as two arrays of shape (entries,): the frame that each entry belongs to, and its cell."""
    frame_of_entry = np.repeat(np.arange(len(sizes)), sizes)
    entries = (cell for region in references for cell in region)
    return frame_of_entry, np.fromiter(entries, dtype=np.int64, count=int(sizes.sum()))


def _check_cells(cells, counted, frames, name):
    """Refuse negative cell indices. All arrays have shape (entries,)."""
    bad = np.flatnonzero(counted & (cells < 0))
    if len(bad):
        raise ValueError(f"pointing: frame {frames[bad[0]]}: {name} {cells[bad[0]]} is not the index of a cell")
