"""Three tables: questions about videos, what a model said to them, and what a judge said of that.

A question is known by (`source`, `question_id`). A prediction that is missing, refused or unparsable is wrong and
counted apart; a judge's call that failed is neither right nor wrong but its own status.
"""

from __future__ import annotations

from datasets import Features, List, Value

from ..provenance import PROVENANCE_FEATURES

QUESTION_VERSION = "1.0"
PREDICTION_VERSION = "1.0"
JUDGEMENT_VERSION = "1.0"

ANSWER_FORMATS = ("choice", "yes_no", "open", "caption")
"""`choice`: one of `options`. `yes_no`: "yes" or "no". `open`: a word or a phrase. `caption`: sentences that are
judged by what they say."""

_SPAN = {"start_s": Value("float64"), "end_s": Value("float64")}

_KEY = {
    "question_id": Value("string"),  # unique in its source
    "source": Value("string"),  # data set and revision, such as "nextqa@1.0"
    "split": Value("string"),
}

QUESTION_FEATURES = Features(
    {
        **_KEY,
        "video_id": Value("string"),  # the video in its manifest
        "start_s": Value("float64"),  # the part of the video that is asked about; null for all of it
        "end_s": Value("float64"),  # exclusive
        "question": Value("string"),
        "answer_format": Value("string"),  # one of `ANSWER_FORMATS`
        "options": List(Value("string")),  # of a choice, without letters; empty for other formats
        "answer_index": Value("int32"),  # index of the right option; -1 where there are no options
        "answer": Value("string"),  # the right answer, for a choice the text of the right option
        "more_answers": List(Value("string")),  # others that count as right
        "question_type": Value("string"),  # the benchmark's own code, such as "CW" or "Interaction_T1"
        "task": Value("string"),  # the benchmark's own sub-task, such as one of MVBench's 20; "" where it has none
        "aspect": Value("string"),  # what of time it is about (TempCompass); "" where nothing says so
        "num_steps": Value("int32"),  # steps of reasoning; 0 where not known
        "program": Value(
            "string"
        ),  # how the answer is found on a graph, as JSON or the source's own text; "" for none
        "rationale": Value("string"),  # the steps in words; "" for none
        "graph_id": Value("string"),  # scene graph that it is about; "" for none
        "evidence_spans": List(_SPAN),  # when what the answer rests on is seen
        "evidence_boxes": List(
            {
                "node_id": Value("string"),  # of the scene graph
                "name": Value("string"),
                "frame_index": Value("int32"),
                "timestamp_s": Value("float64"),
                "box": List(Value("float32"), length=4),  # x0, y0, x1, y1 in [0, 1] of the full frame
            }
        ),
        **PROVENANCE_FEATURES,
    }
)

PREDICTION_FEATURES = Features(
    {
        **_KEY,
        "condition": Value("string"),  # "video", or what was changed: "blind" shows none
        "prediction": Value("string"),  # what the model said, word for word but for space at its ends
        "spans": List(_SPAN),  # when it says that the evidence is seen; empty where it was not asked
        "num_frames": Value("int32"),  # frames that it was shown
        "seconds": Value("float64"),  # from request to answer; 0 where not measured
        **PROVENANCE_FEATURES,
    }
)

JUDGEMENT_FEATURES = Features(
    {
        **_KEY,
        "condition": Value("string"),  # of the prediction
        "prediction_sha256": Value("string"),  # of the prediction's text, which a judgement does not outlive
        "judge": Value("string"),  # name and version of the judge, such as "exact@1" or "llm gpt-4.1-mini"
        "scale": Value("string"),  # name of the scale of `score`; scores of two scales are never averaged together
        "is_right": Value("bool"),  # null where the scale has no right and wrong, or the judge failed
        "score": Value("float64"),  # on `scale`; null where the judge failed
        **PROVENANCE_FEATURES,
    }
)
