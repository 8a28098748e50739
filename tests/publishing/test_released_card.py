"""The card that goes out with the demo's checkpoint says what the README says."""

import re

import pytest
from huggingface_hub import ModelCard

METRICS = ("top1", "top5", "loss", "attention_in_region", "pointing_accuracy")
SECTIONS = (
    *("How to use", "Intended use", "Out of scope", "Training data", "Guidance", "Supervision", "Training", "Results"),
    *("Limits and biases", "Citation"),
)


@pytest.fixture(scope="module")
def card(repository):
    return ModelCard.load(repository / "model_cards" / "released" / "tsvit-synthetic-actions.md")


def test_its_results_are_those_of_the_demo_in_the_readme(card, repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    for split in ("test", "test_shifted"):
        row = re.search(rf"^\| `{split}` \| ours \| (.*) \|$", readme, re.MULTILINE)[1]
        results = {r.metric_name: r.metric_value for r in card.data.eval_results if r.dataset_split == split}
        assert tuple(results) == METRICS
        shown = [f"{value:.3f}" if name == "loss" else f"{100 * value:.1f}" for name, value in results.items()]
        assert row.split(" | ") == shown


def test_it_has_every_section_and_the_models_name(card):
    assert re.findall(r"^## (.*)$", card.text, re.MULTILINE) == list(SECTIONS)
    assert card.data.model_name == "vidreason/tsvit-synthetic-actions"
    assert card.text.count('"vidreason/tsvit-synthetic-actions"') == 2  # by pipeline, and by from_pretrained
    assert card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "video-classification"


def test_its_code_is_python(card):
    blocks = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "card", "exec")


def test_it_tells_the_recipe_that_made_it(card, repository):
    recipe = (repository / "recipes" / "demo_rs_evidence.yaml").read_text(encoding="utf-8")
    epochs = re.search(r"^num_train_epochs: (\d+)", recipe, re.MULTILINE)[1]
    assert f"- **Epochs:** {epochs}\n" in card.text
    limits = card.text.split("## Limits and biases")[1]
    assert "no real video" in limits
