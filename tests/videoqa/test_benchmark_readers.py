"""Benchmarks read from small trees in their layout: each fault is counted by its reason, kept + dropped = source."""

import json

import pytest
from fixtures import benchmark_trees as trees

from vidreason.errors import QuestionError
from vidreason.videoqa.benchmarks import BENCHMARKS, REASONS, read_benchmark
from vidreason.videoqa.benchmarks.mvbench import TASKS
from vidreason.videoqa.schema import QUESTION_FEATURES


def read(name, folder, split="test", **settings):
    """Rows, and reasons of what was dropped; what the source has is all of them."""
    reading = read_benchmark(name, folder, split, **settings)
    rows = list(reading.rows())
    assert reading.kept == len(rows) and reading.total == len(rows) + sum(reading.reasons.values())
    assert set(reading.reasons) <= set(REASONS)
    for row in rows:
        assert list(row) == list(QUESTION_FEATURES)
        assert (row["source"], row["split"], row["status"]) == (BENCHMARKS[name].source, split, "ok")
    return rows, dict(reading.reasons), reading


def test_nextqa(tmp_path):
    rows, reasons, reading = read("nextqa", trees.nextqa(tmp_path), "val")
    assert [row["question_id"] for row in rows] == ["11_0", "12_3"]
    assert [row["video_id"] for row in rows] == ["0001/11", "12"]  # by the map, where it has the video
    assert (rows[0]["answer"], rows[0]["answer_index"], rows[0]["question_type"]) == ("c", 2, "CW")
    assert reasons == {
        "answer_not_among_options": 1,
        "answer_repeated": 1,
        "unknown_type": 1,
        "duplicate_id": 1,
        "columns": 1,
    }
    assert reading.total == 7
    named = {entry.reason: entry for entry in reading.dropped}
    assert named["answer_not_among_options"].where == "val.csv line 4"
    assert named["answer_repeated"].detail == "'a' is 2 times in ['a', 'b', 'c', 'd', 'a']"
    assert named["duplicate_id"].question_id == "11_0"


def test_nextqa_open_ended_has_further_answers(tmp_path):
    rows, reasons, _ = read("nextqa_open", trees.nextqa_open(tmp_path))
    assert [(row["answer"], row["more_answers"]) for row in rows] == [("to catch it", ["he is late"]), ("yes", [])]
    assert {row["answer_format"] for row in rows} == {"open"}
    assert reasons == {"no_answer": 1}


def test_nextgqa_has_intervals_that_lie_in_the_video(tmp_path):
    folder = trees.nextgqa(tmp_path)
    rows, reasons, _ = read("nextgqa", folder, "val")
    assert [row["question_id"] for row in rows] == ["11_0", "11_1", "11_2"]
    # lengths are whole seconds, so an interval may end a little later
    assert rows[1]["evidence_spans"][1] == {"start_s": 16.0, "end_s": 20.5}
    assert reasons == {"span_inverted": 1, "span_beyond_video": 1, "no_span": 1, "answer_not_among_options": 1}
    (folder / "val.csv").rename(folder / "train.csv")  # training has no intervals
    rows, reasons, _ = read("nextgqa", folder, "train")
    assert len(rows) == 6 and not any(row["evidence_spans"] for row in rows)
    (folder / "train.csv").rename(folder / "test.csv")
    with pytest.raises(QuestionError, match=r"no gsub_test.json, which has the intervals of test.csv"):
        read("nextgqa", folder, "test")
    for value, reason in (
        ({"11": {"duration": 20, "location": {"0": [[1.0]]}}}, "field"),
        ({"11": {"duration": 20, "location": {"0": [["a", "b"]]}}}, "field"),
        ({"11": {"duration": "20", "location": {"0": [[1.0, 2.0]]}}}, "field"),
        ({"11": {"duration": 20, "location": {"0": [[float("nan"), 2.0]]}}}, "span_inverted"),
        ({"11": {"duration": float("nan"), "location": {"0": [[1.0, 2.0]]}}}, "field"),
        ({"11": {"duration": 10**400, "location": {"0": [[1.0, 2.0]]}}}, "field"),
        ({"11": {"location": [1]}}, "no_span"),
    ):
        trees.write_json(folder / "gsub_test.json", value)
        assert reason in read("nextgqa", folder, "test")[1]


def test_star_in_its_official_layout(tmp_path):
    rows, reasons, reading = read("star", trees.star(tmp_path), "val")
    (row,) = rows
    assert (row["question_id"], row["question_type"], row["num_steps"]) == ("Interaction_T1_1", "Interaction_T1", 1)
    assert (row["start_s"], row["end_s"], row["video_id"]) == (1.5, 4.0, "ABCDE")
    assert row["options"] == ["The cup.", "The book.", "The bag.", "The box."] and row["answer_index"] == 1
    program = json.loads(row["program"])
    assert program["question"][1]["function"] == "Query_Objs"
    assert program["choices"][1] == [{"function": "Equal", "value_input": ["The book."]}]
    assert reasons == {"span_inverted": 1, "no_answer": 1, "answer_not_among_options": 1, "field": 2}
    assert [entry.detail for entry in reading.dropped if entry.reason == "field"] == [
        "question_id 'Imagination_T1_5' names no template",
        "no choices",
    ]


def test_agqa(tmp_path):
    trees.write_json(tmp_path / "AGQA_balanced" / "test_balanced.txt", trees.agqa_items())
    rows, reasons, _ = read("agqa", tmp_path)
    assert [(row["answer_format"], row["answer"], row["num_steps"]) for row in rows] == [
        ("yes_no", "yes", 1),
        ("open", "before", 5),
    ]
    assert [(row["question_type"], row["task"]) for row in rows] == [
        ("verify", "exists"),
        ("compare", "rel-act+sequencing"),
    ]
    program = json.loads(rows[0]["program"])
    assert program["program"].startswith("Exists(cup") and program["sg_grounding"] == {"4-13": ["o4/000209"]}
    assert reasons == {"unknown_type": 1, "field": 2}


def test_activitynet_qa_is_joined_by_id(tmp_path):
    folder = trees.activitynet_qa(tmp_path)
    rows, reasons, _ = read("activitynet_qa", folder)
    assert [(row["video_id"], row["answer"], row["question_type"], row["task"]) for row in rows] == [
        ("v_abc", "yes", "3", "Yes/No")
    ]
    assert reasons == {"unknown_type": 1, "no_answer": 1}
    answers = json.loads((folder / "test_a.json").read_text())
    trees.write_json(folder / "test_a.json", [*answers, answers[0]])
    with pytest.raises(QuestionError, match=r"test_a.json: question 'v_abc_0' is answered twice"):
        read("activitynet_qa", folder)
    trees.write_json(folder / "test_a.json", {"v_abc_0": "yes"})
    with pytest.raises(QuestionError, match=r"test_a.json: expected a list in JSON"):
        read("activitynet_qa", folder)


def test_msvd_qa_and_msrvtt_qa_in_their_original_layouts(tmp_path):
    rows, reasons, _ = read("msvd_qa", trees.msvd_qa(tmp_path / "mapped"))
    assert [(row["question_id"], row["video_id"], row["question_type"]) for row in rows] == [
        ("1201_30933", "bQJQ_k_162_169", "who")  # as the CSV files name them
    ]
    assert reasons == {"no_answer": 1}
    assert read("msvd_qa", trees.msvd_qa(tmp_path / "bare", mapped=False))[0][0]["video_id"] == "vid1201"
    rows, reasons, _ = read("msrvtt_qa", trees.msrvtt_qa(tmp_path / "msrvtt"))
    assert [(row["question_id"], row["video_id"], row["question_type"]) for row in rows] == [
        ("158581", "video6513", "what")
    ]
    assert reasons == {"field": 1}


def test_mvbench_has_twenty_tasks_and_parts_of_videos_where_it_says_so(tmp_path):
    rows, reasons, _ = read("mvbench", trees.mvbench(tmp_path / "whole", TASKS))
    assert len(TASKS) == 20 and len(rows) == 39 and reasons == {"answer_not_among_options": 1}
    of_task = {row["task"]: row for row in reversed(rows)}
    assert set(of_task) == {task.name for task in TASKS}
    assert sorted(task for task, row in of_task.items() if row["start_s"] is not None) == [
        *("Action Localization", "Action Prediction", "Action Sequence", "Episodic Reasoning", "Object Interaction"),
    ]
    assert of_task["Action Localization"]["evidence_spans"] == [{"start_s": 1.5, "end_s": 2.0}]
    assert of_task["Action Sequence"]["video_id"] == "star/Charades_v1_480/a.b"
    assert of_task["Episodic Reasoning"]["video_id"] == "tvqa/frames_fps3_hq/a.b.mp4"  # a folder of frames
    assert of_task["Fine-grained Pose"]["question_id"] == "fine_grained_pose_0"
    assert rows[-1]["options"] == ["1", "2"] and rows[-1]["answer_index"] == 1
    part = trees.mvbench(tmp_path / "part", TASKS[:2])
    with pytest.raises(QuestionError, match=r"18 of 20 tasks are missing: action_antonym.json"):
        read("mvbench", part)
    assert len(read("mvbench", part, allow_incomplete=True)[0]) == 3
    with pytest.raises(QuestionError, match="MVBench has the split test alone, not 'val'"):
        read("mvbench", part, "val")


def test_tempcompass_in_four_ways(tmp_path):
    def video(question, answer):
        return {"1_reverse": {"speed": [{"question": question, "answer": answer}]}}

    sentences = "Which sentence better captures the essence of the video?\nSentence A: Slow.\nSentence B: Fast."
    files = {
        "multi-choice": video("How fast?\nA. slow\nB.fast\n C. still", "B. fast"),
        "caption_matching": video(sentences, "Sentence B: Fast."),
        "yes_no": video("Is it fast?", "yes"),
        "captioning": video("Say it.\nInformation A: {'speed': 'slow'}\nGenerated Caption:", "A. slow"),
    }
    for name, content in files.items():
        trees.write_json(tmp_path / f"{name}.json", content)
    trees.write_json(tmp_path / "meta_info.json", {"1_reverse": {"eval_dim": {"speed": {"type": "absolute speed"}}}})
    rows, reasons, _ = read("tempcompass", tmp_path)
    assert not reasons
    assert [(row["task"], row["answer_format"], row["answer"], row["answer_index"]) for row in rows] == [
        ("multi-choice", "choice", "fast", 1),
        ("yes_no", "yes_no", "yes", -1),
        ("caption_matching", "choice", "Fast.", 1),
        ("captioning", "caption", "slow", -1),
    ]
    assert {(row["aspect"], row["question_type"], row["video_id"]) for row in rows} == {
        ("speed", "absolute speed", "1_reverse")
    }
    assert rows[0]["question_id"] == "multi-choice/1_reverse/speed/0" and rows[0]["question"] == "How fast?"
    (tmp_path / "captioning.json").unlink()
    with pytest.raises(QuestionError, match=r"no captioning.json in it"):
        read("tempcompass", tmp_path)
    assert len(read("tempcompass", tmp_path, allow_incomplete=True)[0]) == 3


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("How fast?\nA. slow\nB. fast", "C. still", "answer_not_among_options"),
        ("How fast?\nA. slow\nB. fast", "B. slow", "answer_not_among_options"),
        ("How fast?\nA. slow\nB. fast", "fast", "no_answer"),
        ("How fast?\nA. slow\nC. fast", "A. slow", "field"),
        ("How fast?\nA. slow\nA. fast", "A. slow", "field"),
        ("How fast?\nA. slow\nB. slow", "A. slow", "answer_repeated"),
        ("How fast?\nA. slow", "A. slow", "breaks_contract"),
        ("How fast?", "A. slow", "answer_not_among_options"),
        (7, "A. slow", "field"),
    ],
)
def test_faults_of_options_are_dropped_by_reason(tmp_path, question, answer, reason):
    content = {"1": {"speed": [{"question": question, "answer": answer}], "colour": [{}]}, "2": ["none"]}
    trees.write_json(tmp_path / "multi-choice.json", content)
    rows, reasons, _ = read("tempcompass", tmp_path, allow_incomplete=True)
    expected = {reason: 1}
    for other in ("unknown_type", "field"):
        expected[other] = expected.get(other, 0) + 1
    assert not rows and reasons == expected


def test_a_benchmark_and_a_split_are_known_by_name(tmp_path):
    with pytest.raises(QuestionError, match=r"benchmark is 'next-qa', expected one of \['activitynet_qa', 'agqa'"):
        read("next-qa", tmp_path)
    with pytest.raises(QuestionError, match=r"split is '\.\./val', expected a name"):
        read("nextqa", tmp_path, "../val")
    for name, benchmark in BENCHMARKS.items():
        with pytest.raises(QuestionError, match=tmp_path.name):
            read(name, tmp_path, benchmark.splits[-1])
    with pytest.raises(QuestionError, match="there is no such folder"):
        read("nextqa", tmp_path / "nothing")


class TestRealFiles:
    """The files in `../shared/data`, as their authors published them."""

    @pytest.mark.parametrize(
        ("name", "split", "questions", "videos"),
        [
            ("nextqa", "val", 4996, 570),
            ("nextqa_open", "val", 5343, 570),
            ("nextgqa", "val", 3358, 567),
            ("star", "val", 7098, 914),
            ("activitynet_qa", "val", 18000, 1800),
            ("activitynet_qa", "test", 8000, 800),
            ("msvd_qa", "val", 6415, 245),
            ("msrvtt_qa", "val", 12278, 497),
            ("tempcompass", "test", 7540, 410),
        ],
    )
    def test_every_question_is_kept(self, shared_data, name, split, questions, videos):
        rows, reasons, _ = read(name, shared_data / "videoqa" / name, split)
        assert (len(rows), reasons, len({row["video_id"] for row in rows})) == (questions, {}, videos)

    def test_types_of_nextqa_and_intervals_of_nextgqa(self, shared_data):
        rows = read("nextqa", shared_data / "videoqa" / "nextqa", "val")[0]
        assert count(rows, "question_type") == {
            **{"CW": 1924, "TN": 895, "CH": 683, "TC": 663, "DO": 305, "DL": 295, "DC": 177, "TP": 54},
        }
        assert all(row["video_id"].endswith(f"/{row['question_id'].split('_')[0]}") for row in rows)
        rows = read("nextgqa", shared_data / "videoqa" / "nextgqa", "val")[0]
        spans = [len(row["evidence_spans"]) for row in rows]
        assert (sum(spans), spans.count(1)) == (3931, 3019)

    def test_aspects_and_kinds_of_tempcompass(self, shared_data):
        rows = read("tempcompass", shared_data / "videoqa" / "tempcompass")[0]
        assert count(rows, "task") == {
            **{"multi-choice": 1580, "yes_no": 2453, "caption_matching": 1503, "captioning": 2004},
        }
        assert count([row for row in rows if row["task"] == "multi-choice"], "aspect") == {
            **{"action": 338, "direction": 335, "speed": 317, "order": 302, "attribute_change": 288},
        }

    def test_agqa_as_published_has_a_brace_too_many(self, shared_data, tmp_path):
        text = (shared_data / "videoqa" / "agqa" / "test_balanced_example.json.txt").read_text()
        (tmp_path / "test_balanced.txt").write_text(text)
        with pytest.raises(
            QuestionError, match=r"test_balanced.txt: line 198: there is more after the end: '}'.*toler"
        ):
            read("agqa", tmp_path)
        rows, reasons, _ = read("agqa", tmp_path, tolerant=True)
        assert [(row["num_steps"], row["answer"], row["answer_format"]) for row in rows] == [
            (3, "no", "yes_no"),
            (1, "yes", "yes_no"),
            (3, "yes", "yes_no"),
            (6, "after", "open"),
        ]
        assert not reasons
        assert "43-59" in json.loads(rows[0]["program"])["sg_grounding"]

    def test_an_item_of_star_in_the_official_layout(self, shared_data, tmp_path):
        text = (shared_data / "videoqa" / "star" / "sample_item.json.txt").read_text()
        (tmp_path / "STAR_val.json").write_text(f"[{text},]")  # an item of a list, with a comma that is none's
        with pytest.raises(QuestionError, match="a comma before a closing bracket"):
            read("star", tmp_path, "val")
        (row,), reasons, _ = read("star", tmp_path, "val", tolerant=True)
        assert not reasons
        assert (row["question_id"], row["answer_index"], row["start_s"]) == ("Interaction_T1_3772", 0, 8.9)
        # the same question in the table of all validation questions
        table = {row["question_id"]: row for row in read("star", shared_data / "videoqa" / "star", "val")[0]}
        assert row["graph_id"] == "Interaction_T1_3772"
        assert {**row, "program": "", "graph_id": ""} == table["Interaction_T1_3772"]
        assert len(json.loads(row["program"])["choices"]) == 4

    def test_the_questions_of_the_teaser(self, shared_data):
        rows, reasons, _ = read("star", shared_data / "videoqa" / "star", "teaser")
        assert not reasons
        assert [(row["question_type"], row["answer"]) for row in rows] == [
            ("Interaction_T2", "Put down."),
            ("Sequence_T1", "The book."),
            ("Prediction_T3", "The bottle."),
            ("Feasibility_T3", "The book"),
        ]
        assert {row["video_id"] for row in rows} == {"0TXYV"}


def count(rows, column):
    counts = {}
    for row in rows:
        counts[row[column]] = counts.get(row[column], 0) + 1
    return counts
