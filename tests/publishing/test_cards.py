import ast
import dataclasses
import functools
import re
import subprocess
import sys

import jinja2
import pytest
from huggingface_hub import ModelCard

from vidreason.errors import VidreasonError
from vidreason.publishing.cards import (
    NOT_RECORDED,
    GuidanceFacts,
    ObjectFacts,
    RecipeFacts,
    SupervisionFacts,
    TrainingFacts,
    stated,
    write_model_card,
)

FULL = TrainingFacts(
    model_name="organisation/tsvit-rs",
    architecture="TSViT (4 spatial and 2 temporal layers)",
    class_names=("pick_up", "put_down"),
    dataset_sources=("synthetic@1.0",),
    split_sizes={"train": 96, "test": 24},
    guidance=GuidanceFacts(
        producer="ground_truth",
        source="synthetic-guidance@1.0",
        coverage={"ok": 90, "empty": 6},
        noise={"missed": 0.1},
    ),
    supervision=SupervisionFacts(1.5, 0.25, temperature=2.0, supervised_layers=(-1, 0), weight_warmup_ratio=0.125),
    recipe=RecipeFacts(7, 16, 3e-4, 42, "cpu", 61.5, {"torch": "2.11.0"}),
    metrics={
        "test": {"top1": 0.875, "top5": 1.0, "loss": 0.3125, "attention_in_region": 0.5, "pointing_accuracy": 0.75},
        "test_shifted": {"top1": 0.5, "top5": None},
    },
    license="apache-2.0",
    notes=("Trained on procedural clips only.",),
)
PLAIN = TrainingFacts(model_name="organisation/tsvit-plain", architecture="TSViT")
SHOWN_OBJECTS = dataclasses.replace(
    PLAIN, objects=ObjectFacts(("person", "tennis racket"), "coco ssd_mobilenet_v2", "0.4.4", 0.25, "detections")
)


def section(text, heading):
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def full_card(tmp_path_factory):
    return write_model_card(tmp_path_factory.mktemp("full"), FULL)


@pytest.fixture(scope="module")
def plain_card(tmp_path_factory):
    return write_model_card(tmp_path_factory.mktemp("plain"), PLAIN)


def test_results_parse_back(full_card):
    results = ModelCard.load(full_card).data.eval_results
    found = {(result.dataset_split, result.metric_name): result.metric_value for result in results}
    expected = {("test", name): value for name, value in FULL.metrics["test"].items()}
    assert found == {**expected, ("test_shifted", "top1"): 0.5}
    assert {result.dataset_name for result in results} == {"synthetic@1.0"}


def test_front_matter(full_card):
    data = ModelCard.load(full_card).data
    assert data.model_name == "organisation/tsvit-rs"
    assert data.license == "apache-2.0"
    assert (data.library_name, data.pipeline_tag) == ("transformers", "video-classification")
    assert "reasoning-supervision" in data.tags
    assert data.metrics == ["accuracy", "attention_in_region", "loss", "pointing", "topk_accuracy"]


@pytest.mark.parametrize(
    ("heading", "facts"),
    [
        ("Training data", ["| train | 96 |", "| test | 24 |", "synthetic@1.0"]),
        ("Guidance", ["ground_truth", "synthetic-guidance@1.0", "ok 90, empty 6", "missed 0.1"]),
        ("Supervision", ["1.5", "0.25", "(tau):** 2", "-1, 0", "0.125"]),
        ("Training", ["** 7", "** 16", "0.0003", "** 42", "cpu", "61.5 s", "torch 2.11.0"]),
        ("Results", ["| test | 87.50 | 100.00 | 0.3125 | 50.00 | 75.00 |"]),
        ("Limits and biases", ["- Trained on procedural clips only.", "Guidance carries the errors"]),
        ("How to use", ["organisation/tsvit-rs", "trust_remote_code=True", "pipeline(", "from_pretrained("]),
        ("Out of scope", ["without their informed consent", "Identifying people"]),
        ("Citation", ["Reasoning Supervision for Vision Transformers in Human Activity Recognition"]),
    ],
)
def test_facts_stand_in_their_section(full_card, heading, facts):
    text = section(full_card.read_text(encoding="utf-8"), heading)
    assert [fact for fact in facts if fact not in text] == []


def test_a_result_that_was_not_measured_is_stated_as_absent(full_card):
    row = next(line for line in full_card.read_text().splitlines() if line.startswith("| test_shifted | "))
    assert row == f"| test_shifted | 50.00 | {' | '.join([NOT_RECORDED] * 4)} |"


@pytest.mark.parametrize("heading", ["Training data", "Training", "Results"])
def test_absent_facts_are_stated(plain_card, heading):
    assert NOT_RECORDED in section(plain_card.read_text(), heading).lower()


def test_results_of_two_looks_are_said_to_be(tmp_path, full_card):
    metrics = {"test": {"top1": 0.875, "top1_one_look": 0.75, "loss": 0.3, "loss_one_look": 0.4}}
    results = section(write_model_card(tmp_path, dataclasses.replace(FULL, metrics=metrics)).read_text(), "Results")
    assert "Top-1 accuracy (%), one look" in results and "| 75.00 |" in results
    assert "of two looks at each clip" in results
    assert "two looks" not in section(full_card.read_text(), "Results")


def test_no_label_is_left_without_a_value(plain_card):
    assert re.findall(r"^- \*\*[^*]+\*\* *$", plain_card.read_text(), flags=re.MULTILINE) == []


def test_plain_training_is_said_to_be_plain(plain_card):
    text = plain_card.read_text()
    assert "trained on labels alone" in text
    assert "No guidance was used" in section(text, "Guidance")
    assert "cross-entropy only" in section(text, "Supervision")
    assert "Guidance carries the errors" not in text
    assert ModelCard.load(plain_card).data.eval_results is None


@pytest.mark.parametrize(
    ("weights", "said", "not_said"),
    [((1.0, 0.0), "where the evidence lies", "trained to agree"), ((0.0, 1.0), "trained to agree", "evidence lies")],
)
def test_only_the_losses_that_were_on_are_described(tmp_path, weights, said, not_said):
    facts = dataclasses.replace(FULL, supervision=SupervisionFacts(*weights))
    introduction = write_model_card(tmp_path, facts).read_text().split("## How to use")[0]
    assert said in introduction
    assert not_said not in introduction


def test_examples_are_python(full_card):
    snippets = re.findall(r"```python\n(.*?)```", full_card.read_text(), flags=re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        ast.parse(snippet)


@pytest.mark.parametrize("facts", [FULL, PLAIN, SHOWN_OBJECTS], ids=["full", "plain", "objects"])
def test_the_template_uses_no_unknown_fact(tmp_path, monkeypatch, facts):
    """Jinja renders an unknown name as nothing, so that a misspelt fact would be a silent blank."""
    strict = functools.partial(jinja2.Template, undefined=jinja2.StrictUndefined)
    monkeypatch.setattr(jinja2, "Template", strict)
    assert facts.model_name in write_model_card(tmp_path, facts).read_text()
    with pytest.raises(jinja2.UndefinedError):
        jinja2.Template("{{ facts.misspelt }}").render(facts=facts)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_result_that_is_not_a_number_is_refused(tmp_path, value):
    facts = dataclasses.replace(PLAIN, metrics={"test": {"loss": value}})
    with pytest.raises(VidreasonError, match=r"organisation/tsvit-plain: loss on test is"):
        write_model_card(tmp_path, facts)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_name_is_refused(tmp_path):
    with pytest.raises(VidreasonError, match="model_name"):
        write_model_card(tmp_path, dataclasses.replace(PLAIN, model_name=" "))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NOT_RECORDED),
        ("", NOT_RECORDED),
        ({}, NOT_RECORDED),
        ((), NOT_RECORDED),
        (0, "0"),
        (0.0, "0"),
        ("all", "all"),
        ((-1, 2), "-1, 2"),
        ({"ok": 3, "empty": None}, f"ok 3, empty {NOT_RECORDED}"),
    ],
)
def test_stated(value, text):
    assert stated(value) == text


def test_import_is_cheap():
    program = "import sys, vidreason.publishing.cards; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert finished.stdout.strip() == "[]"


@pytest.mark.parametrize("gives_attention", [True, False])
def test_a_model_that_is_shown_objects_brings_its_code_and_says_how_to_detect(tmp_path, gives_attention):
    """Around any classifier: one of transformers inside does not make it one of transformers."""
    facts = dataclasses.replace(SHOWN_OBJECTS, gives_attention=gives_attention)
    text = write_model_card(tmp_path, facts).read_text(encoding="utf-8")
    used = section(text, "How to use")
    assert "The code of the model travels with its weights" in used
    loads = re.findall(r"AutoModelForVideoClassification\.from_pretrained\((.*?)\)", text)
    assert loads == ["name, trust_remote_code=True"]
    shown = section(text, "Object maps")
    (code,) = re.findall(r"```python\n(.*?)```", shown, flags=re.DOTALL)
    names = {
        alias.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert names == {"ObjectVideoClassifier", "make_detector"}
    assert 'make_detector("coco")' in code and f'from_pretrained("{PLAIN.model_name}", detector)' in code
    assert "`person`, `tennis racket`" in shown and "0.25" in shown


def test_a_card_cites_what_the_model_is_and_explains_what_it_measured(full_card, tmp_path):
    titles = {"rs": "Reasoning Supervision for Vision", "a2o": "A2O: Agentic Action-to-Object"}
    around_another = dataclasses.replace(
        SHOWN_OBJECTS, architecture="A2O around V-JEPA 2", metrics={"test": {"top1": 0.5}}
    )
    for facts, cited in [(FULL, {"rs"}), (SHOWN_OBJECTS, {"rs", "a2o"}), (around_another, {"a2o"})]:
        text = write_model_card(tmp_path, facts).read_text(encoding="utf-8")
        assert {name for name, title in titles.items() if title in section(text, "Citation")} == cited
        assert section(text, "Citation").count("```") == 2
    assert "Attention in the guided region is" in section(full_card.read_text(encoding="utf-8"), "Results")
    assert "Attention in the guided region" not in section(text, "Results")
