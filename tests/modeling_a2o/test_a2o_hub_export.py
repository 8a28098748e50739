"""Saved folders: they load as they were, and alone, in a process that cannot import this project."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, pipeline

from modeling_a2o import A2OForVideoClassification
from modeling_tsvit import TSViTVideoProcessor

OWN_CODE = {"configuration_a2o.py", "modeling_a2o.py"}
TSVIT_CODE = {"configuration_tsvit.py", "modeling_tsvit.py"}
NAMES = ("wave", "run", "sit", "fall")
LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}


def test_it_reads_back_as_it_was(make_classifier, make_model, clips, maps, model_type, tmp_path):
    classifier = make_classifier(model_type, **LABELS)
    model = make_model(classifier=classifier, adapter_depth=2, adapter_bias=True, detector="coco")
    model.save_pretrained(tmp_path / "saved.v1")
    torch.manual_seed(99)  # whatever were not filled from the file would differ
    read, report = AutoModelForVideoClassification.from_pretrained(tmp_path / "saved.v1", output_loading_info=True)
    assert isinstance(read, A2OForVideoClassification) and type(read.backbone) is type(classifier)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(read(clips, maps).logits, model(clips, maps).logits)
    for config in (read.config, read.backbone.config):
        assert (config.num_labels, config.id2label) == (4, LABELS["id2label"])
    assert (read.config.detector, read.config.class_texts) == ("coco", model.config.class_texts)
    code = {path.name for path in (tmp_path / "saved.v1").glob("*.py")}
    assert code == OWN_CODE | (TSVIT_CODE if model_type == "tsvit" else set())
    assert (tmp_path / "saved.v1" / "model.safetensors").is_file()


def test_from_the_folder_of_a_classifier(make_classifier, clips, maps, model_type, tmp_path):
    classifier = make_classifier(model_type, **LABELS)
    classifier.save_pretrained(tmp_path / "classifier")
    model = A2OForVideoClassification.from_backbone(
        tmp_path / "classifier", ["person", "ball", "net"], adapter_depth=1
    )
    assert torch.equal(model(clips, maps).logits, classifier(**{classifier.main_input_name: clips}).logits)
    assert model.config.id2label == LABELS["id2label"]
    half = A2OForVideoClassification.from_backbone(
        tmp_path / "classifier", ["person"], attn_implementation="eager", dtype=torch.bfloat16
    )
    assert half.backbone.config._attn_implementation == "eager"
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert half.config.dtype == half.backbone.config.dtype == torch.bfloat16


def test_a_new_head_is_reported_and_the_rest_is_kept(make_model, tmp_path):
    model = make_model("vjepa2")
    model.save_pretrained(tmp_path)
    read, report = AutoModelForVideoClassification.from_pretrained(
        tmp_path, num_labels=7, ignore_mismatched_sizes=True, output_loading_info=True
    )
    mismatched = {key[0] for key in report["mismatched_keys"]}
    assert mismatched == {"backbone.classifier.weight", "backbone.classifier.bias"}
    assert read.config.backbone_config.num_labels == 7
    torch.testing.assert_close(read.adapter.state_dict(), model.adapter.state_dict(), rtol=0, atol=0)


def test_a_classifier_that_is_not_there_is_named(make_model, tmp_path):
    make_model("tsvit").save_pretrained(tmp_path)
    code = (
        "import sys; import modeling_a2o; from transformers import AutoModelForVideoClassification as A\n"
        "assert 'modeling_tsvit' not in sys.modules\nA.from_pretrained(sys.argv[1])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: backbone_config has the model_type 'tsvit', which transformers does not know")


# Runs with the exported folders alone: this project cannot be imported there.
ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("modeling_a2o", "modeling_tsvit", "vidreason"):
            raise ModuleNotFoundError(f"No module named {name!r} in this process", name=name)

sys.meta_path.insert(0, Blocked())
import json
import torch
from transformers import AutoConfig, AutoModelForVideoClassification, AutoVideoProcessor, pipeline

answers = []
clips, maps = torch.load(sys.argv[1]).values()
for source in sys.argv[2:]:
    name, _, revision = source.partition("@")
    settings = {"trust_remote_code": True, **({"revision": revision} if revision else {})}
    config = AutoConfig.from_pretrained(name, **settings)
    model, report = AutoModelForVideoClassification.from_pretrained(name, **settings, output_loading_info=True)
    model.save_pretrained("again")
    again = AutoModelForVideoClassification.from_pretrained("again", trust_remote_code=True)
    answers.append({
        "missing": sorted(report["missing_keys"]),
        "inside": config.backbone_config.model_type,
        "modules": [type(model).__module__, type(model.backbone).__module__],
        "logits": model(clips, maps).logits.tolist(),
        "again": again(clips, maps).logits.tolist(),
        "marks": [vars(sys.modules[type(each).__module__]).get("MARK") for each in (model, model.backbone)],
    })
print(json.dumps(answers))
"""


def put_on_the_hub(folder, cache, name, commits):
    """Lays a folder into the Hub's cache as if each commit had been fetched; its code says which commit it is of."""
    repository = cache / f"models--{name.replace('/', '--')}"
    for commit in commits:
        snapshot = repository / "snapshots" / commit
        shutil.copytree(folder, snapshot)
        for path in snapshot.glob("*.py"):
            path.write_text(f"{path.read_text(encoding='utf-8')}\n\nMARK = {commit!r}\n", encoding="utf-8")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commits[-1])


def test_an_exported_folder_works_alone_with_any_classifier_inside(make_model, clips, maps, tmp_path):
    """One process for all, it starts slowly. Of a revision, all code is of that revision, the classifier's too."""
    models = {name: make_model(name, adapter_depth=1) for name in ("tsvit", "vjepa2")}
    for name, model in models.items():
        model.save_pretrained(tmp_path / f"a2o-{name}.v1")
    old, new = "a" * 40, "b" * 40
    put_on_the_hub(tmp_path / "a2o-tsvit.v1", tmp_path / "home" / "hub", "someone/a2o-tsvit", [old, new])
    torch.save({"clips": clips, "maps": maps}, tmp_path / "inputs.pt")
    sources = [*(tmp_path / f"a2o-{name}.v1" for name in models), f"someone/a2o-tsvit@{old}", "someone/a2o-tsvit"]
    finished = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, tmp_path / "inputs.pt", *map(str, sources)],
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    answers = json.loads(finished.stdout.splitlines()[-1])
    inside = ["tsvit", "vjepa2", "tsvit", "tsvit"]
    for answer, name in zip(answers, inside, strict=True):
        assert (answer["missing"], answer["inside"]) == ([], name)
        assert answer["modules"][0].startswith("transformers_modules.")
        assert answer["modules"][1].startswith("transformers_modules." if name == "tsvit" else "transformers.models.")
        expected = models[name](clips, maps).logits
        for logits in (answer["logits"], answer["again"]):
            torch.testing.assert_close(torch.tensor(logits), expected)
    assert [answer["marks"] for answer in answers[2:]] == [[old, old], [new, new]]


def test_the_pipeline_classifies_without_maps(make_classifier, make_model, model_type, tmp_path, shared_data):
    model = make_model(classifier=make_classifier(model_type, **LABELS))
    model.save_pretrained(tmp_path)
    name = "pixel_values_videos" if model_type == "vjepa2" else "pixel_values"
    processor = TSViTVideoProcessor(size={"height": 32, "width": 32}, num_frames=6, model_input_names=[name])
    processor.save_pretrained(tmp_path)
    classify = pipeline("video-classification", model=str(tmp_path))
    assert isinstance(AutoVideoProcessor.from_pretrained(tmp_path), TSViTVideoProcessor)
    paths = [
        shared_data / "clips" / "UCF-101" / "SoccerJuggling" / "v_SoccerJuggling_g23_c01.avi",
        next((shared_data / "clips" / "Kinetics").glob("*.mp4")),
    ]
    for path in map(str, paths):
        answers = classify(path, top_k=4)
        best = model(**processor(path, return_tensors="pt")).logits[0].softmax(-1)
        assert {answer["label"] for answer in answers} == set(NAMES)
        assert answers[0]["score"] == pytest.approx(best.max().item(), abs=1e-5)
