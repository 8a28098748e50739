"""The configuration: what it refuses, and that the labels are those of the classifier inside."""

import re

import pytest
from transformers import AutoConfig, PreTrainedConfig

from modeling_a2o import A2OConfig
from modeling_tsvit import TSViTConfig


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"class_texts": "person"}, "class_texts must be a list"),
        ({"class_texts": ["person", 3]}, "class_texts must be a list"),
        ({"class_texts": ["Person"]}, "'Person'"),
        ({"class_texts": ["tennis  racket"]}, "'tennis  racket'"),
        ({"class_texts": [""]}, "''"),
        ({"class_texts": ["ball", "person", "ball"]}, "'ball' more than once"),
        ({"detector": None}, "detector must be a text"),
        ({"detector_threshold": 1.0}, "detector_threshold"),
        ({"detector_threshold": True}, "detector_threshold"),
        ({"detector_threshold": float("nan")}, "detector_threshold"),
        ({"map_size_px": 0}, "map_size_px"),
        ({"map_size_px": True}, "map_size_px"),
        ({"adapter_depth": -1}, "adapter_depth"),
        ({"adapter_depth": 1.0}, "adapter_depth"),
        ({"adapter_hidden_size": 0}, "adapter_hidden_size"),
        ({"adapter_bias": 1}, "adapter_bias"),
        ({"fusion": "multiply"}, "fusion must be one of"),
        ({"fusion": "channels", "adapter_depth": 1}, '"channels" has no adapter'),
        ({"backbone_config": {"model_type": "tsvit", "num_channels": 1}}, "takes 1 channels (num_channels)"),
        ({"backbone_config": "vjepa2"}, "backbone_config must be"),
        ({"backbone_config": {}}, "model_type None"),
        ({"backbone_config": {"model_type": "nowhere"}}, "'nowhere'"),
        ({"backbone_config": {"model_type": ["tsvit"]}}, "model_type"),
        ({"backbone_config": {"model_type": "a2o", "class_texts": ["ball"]}}, "A2O model itself"),
        ({"backbone_config": {"model_type": "tsvit", "image_size": 30}}, "grid_size"),
    ],
)
def test_what_cannot_be_used_is_named(values, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        A2OConfig(**values)


def test_a_configuration_of_code_elsewhere_runs_none_of_it(tmp_path, monkeypatch):
    """`auto_map` of a stranger's configuration names code; a class that is installed here never loads it."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "configuration_x.py").write_text("raise SystemExit('the code of a stranger ran')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for reference in ("configuration_x.X", "stranger--configuration_x.X"):
        inside = {"model_type": "x", "auto_map": {"AutoConfig": reference}}
        for source in ({}, {"name_or_path": str(folder)}):
            with pytest.raises(ValueError, match="'x', which transformers does not know"):
                A2OConfig(class_texts=["ball"], backbone_config=dict(inside), **source)


def test_labels_are_those_of_the_classifier_inside():
    inside = TSViTConfig(id2label={0: "wave", 1: "run", 2: "sit"}, label2id={"wave": 0, "run": 1, "sit": 2})
    taken = A2OConfig(backbone_config=inside, class_texts=["ball"])
    assert (taken.num_labels, taken.id2label, taken.label2id) == (3, inside.id2label, inside.label2id)

    given = A2OConfig(
        backbone_config={"model_type": "tsvit"}, class_texts=["ball"], id2label={"0": "a"}, label2id={"a": 0}
    )
    counted = A2OConfig(backbone_config={"model_type": "tsvit"}, class_texts=["ball"], num_labels=7)
    given.id2label = {0: "b", 1: "c"}  # as a run does that puts a new head on
    for config, number in ((given, 2), (counted, 7)):
        assert config.num_labels == config.backbone_config.num_labels == number
        assert config.id2label == config.backbone_config.id2label


def test_it_reads_back_from_a_folder_as_it_was(tmp_path):
    config = A2OConfig(
        backbone_config={"model_type": "vjepa2", "frames_per_clip": 16, "hidden_size": 64, "num_attention_heads": 4},
        class_texts=["person", "tennis racket"],
        detector="coco",
        detector_model="ssd_mobilenet_v2",
        detector_revision="0.4.4",
        detector_threshold=0.25,
        map_size_px=32,
        adapter_depth=4,
        adapter_hidden_size=16,
        adapter_bias=True,
        id2label={0: "serve", 1: "smash"},
        label2id={"serve": 0, "smash": 1},
    )
    config.save_pretrained(tmp_path)
    read = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(read, A2OConfig)
    by_place = ("auto_map", "_name_or_path")  # where the code and the configuration are
    ours, theirs = ({k: v for k, v in c.to_dict().items() if k not in by_place} for c in (config, read))
    assert ours == theirs
    assert read.num_frames == 16
    changed = AutoConfig.from_pretrained(tmp_path, num_labels=5, backbone_config={"frames_per_clip": 8})
    assert (changed.backbone_config.num_labels, changed.num_frames, changed.backbone_config.hidden_size) == (5, 8, 64)


def test_what_stays_behind_in_an_evaluation_is_what_the_classifier_inside_says():
    for inside in (TSViTConfig(), AutoConfig.for_model("videomae")):
        config = A2OConfig(backbone_config=inside, class_texts=["ball"])
        assert config.keys_to_ignore_at_inference == getattr(inside, "keys_to_ignore_at_inference", [])
        assert config.num_frames == inside.num_frames == 16


def test_without_arguments_it_is_of_the_papers_model():
    config = A2OConfig()
    assert isinstance(config, PreTrainedConfig)
    assert config.backbone_config.model_type == "vjepa2"
    assert config.class_texts == ()
