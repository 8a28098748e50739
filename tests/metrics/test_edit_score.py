import tracemalloc
from functools import cache

import evaluate
import numpy as np
import pytest

from vidreason.metrics import metric_path

# what other tests left for the garbage collector may be collected here, and is no fault of a metric
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def edit_score(tmp_path):
    return evaluate.load(metric_path("edit_score"), cache_dir=str(tmp_path), experiment_id="test")


def edits(first, second):
    """The Levenshtein distance as its recursive definition has it."""

    @cache
    def distance(i, j):
        if i == 0 or j == 0:
            return i + j
        substituted = distance(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, substituted)

    return distance(len(first), len(second))


def segment_labels(frames, background=()):
    opens = [label for i, label in enumerate(frames) if i == 0 or frames[i - 1] != label]
    return tuple(label for label in opens if label not in background)


@pytest.mark.parametrize(
    ("prediction", "reference", "background", "score", "num_segments"),
    [
        pytest.param([1, 1, 2, 2], [1, 2, 2, 2], None, 100.0, (2, 2), id="durations-do-not-matter"),
        pytest.param([1, 2, 1, 2], [1, 1, 2, 2], None, 50.0, (4, 2), id="two-insertions-in-four"),
        pytest.param([1, 1, 1, 1], [1, 2, 3, 4], None, 25.0, (1, 4), id="three-deletions-in-four"),
        pytest.param([1, 3, 2, 2], [1, 4, 2, 5], None, 50.0, (3, 4), id="a-substitution-and-a-deletion-in-four"),
        pytest.param([1, 2], [2, 1], None, 0.0, (2, 2), id="the-order-matters"),
        pytest.param([3, 3], [4, 4], None, 0.0, (1, 1), id="nothing-in-common"),
        pytest.param([7], [7], None, 100.0, (1, 1), id="one-frame-right"),
        pytest.param([7], [6], None, 0.0, (1, 1), id="one-frame-wrong"),
        pytest.param([1, 0, 2, 0], [0, 1, 1, 2], 0, 100.0, (2, 2), id="background-is-left-out"),
        pytest.param([1, 0, 1, 1], [1, 1, 1, 1], 0, 50.0, (2, 1), id="neighbours-of-background-are-not-merged"),
        pytest.param([1, 8, 9, 2], [1, 9, 8, 2], [8, 9], 100.0, (2, 2), id="two-kinds-of-background"),
        pytest.param([0, 0], [0, 0], 0, 100.0, (0, 0), id="background-only-on-both-sides"),
        pytest.param([1, 2], [0, 0], 0, 0.0, (2, 0), id="background-only-in-the-reference"),
        pytest.param([0, 0], [1, 2], 0, 0.0, (0, 2), id="background-only-in-the-prediction"),
        pytest.param([0], [0], 0, 100.0, (0, 0), id="one-frame-of-background"),
        pytest.param([0, 1], [0, 1], [], 100.0, (2, 2), id="an-empty-list-is-no-background"),
    ],
)
def test_values(edit_score, prediction, reference, background, score, num_segments):
    result = edit_score.compute(predictions=[prediction], references=[reference], background=background)
    assert result == {
        "edit_score": score,
        "num_videos": 1,
        "num_ignored_videos": 0,
        "num_frames": len(reference),
        "num_ignored_frames": 0,
        "num_predicted_segments": num_segments[0],
        "num_reference_segments": num_segments[1],
    }


def test_videos_weigh_the_same(edit_score):
    predictions, references = [[1], [1, 2, 3, 4]], [[2], [1, 2, 3, 3]]  # 0 and 75
    assert edit_score.compute(predictions=predictions, references=references, background=None)["edit_score"] == 37.5


def test_ignored_frames_are_removed_before_segments_are_made(edit_score):
    # video 0 becomes 1 1 2 and 1 1 2, video 1 vanishes, video 2 becomes 3 4 and 3 3
    predictions = [[1, 7, 1, 2], [5, 6], [3, 4, 5]]
    references = [[1, 9, 1, 2], [9, -1], [3, 3, -1]]
    result = edit_score.compute(predictions=predictions, references=references, background=None, ignore=[9, -1])
    assert result == {
        "edit_score": 75.0,
        "num_videos": 2,
        "num_ignored_videos": 1,
        "num_frames": 5,
        "num_ignored_frames": 4,
        "num_predicted_segments": 4,
        "num_reference_segments": 3,
    }


def test_no_frame_counts(edit_score):
    result = edit_score.compute(predictions=[[1, 2]], references=[[9, 9]], background=None, ignore=9)
    assert result["edit_score"] is None
    assert (result["num_videos"], result["num_ignored_videos"], result["num_ignored_frames"]) == (0, 1, 2)


@pytest.mark.parametrize("background", [None, 0, [0, 2]])
def test_agrees_with_the_recursive_definition(edit_score, background):
    rng = np.random.default_rng(0)
    left_out = () if background is None else np.atleast_1d(background).tolist()
    for length in [1, 2, 3, 5, 8, 13, 40, 41, 60]:
        for num_labels in (2, 3, 6):
            prediction, reference = rng.integers(0, num_labels, (2, length)).tolist()
            first, second = (segment_labels(frames, left_out) for frames in (prediction, reference))
            longer = max(len(first), len(second))
            expected = 100 * (1 - edits(first, second) / longer) if longer else 100
            result = edit_score.compute(predictions=[prediction], references=[reference], background=background)
            assert result["edit_score"] == pytest.approx(expected)


@pytest.mark.parametrize(("rows", "columns"), [(1, 30), (30, 1), (7, 25), (25, 7), (26, 25)])
def test_sequences_of_unlike_lengths(edit_score, rows, columns):
    rng = np.random.default_rng(rows)
    frames = max(rows, columns)
    # labels that alternate between even and odd, so that every frame but the padding opens a segment
    predicted = [2 * int(label) + i % 2 for i, label in enumerate(rng.integers(0, 2, rows))]
    true = [2 * int(label) + i % 2 for i, label in enumerate(rng.integers(0, 2, columns))]
    result = edit_score.compute(
        predictions=[predicted + predicted[-1:] * (frames - rows)],
        references=[true + true[-1:] * (frames - columns)],
        background=None,
    )
    assert (result["num_predicted_segments"], result["num_reference_segments"]) == (rows, columns)
    assert result["edit_score"] == pytest.approx(100 * (1 - edits(tuple(predicted), tuple(true)) / frames))


def test_the_two_sides_are_alike(edit_score):
    first, second = np.random.default_rng(1).integers(0, 4, (2, 80))
    forth = edit_score.compute(predictions=[first], references=[second], background=0)["edit_score"]
    back = edit_score.compute(predictions=[second], references=[first], background=0)["edit_score"]
    assert forth == back < 100


def test_memory_is_linear_in_the_number_of_segments(edit_score):
    first, second = (np.arange(3000) % 7, np.arange(3000) % 5)
    tracemalloc.start()
    result = edit_score.compute(predictions=[first], references=[second], background=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (result["num_predicted_segments"], result["num_reference_segments"]) == (3000, 3000)
    assert peak < 3000 * 3000 / 4  # not even a bit for each pair


def test_background_must_be_given(edit_score):
    with pytest.raises(TypeError, match="background"):
        edit_score.compute(predictions=[[1]], references=[[1]])
