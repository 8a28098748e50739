"""All of docs/a2o.md on real clips: a folder of videos, a search with a real detector, and the model of its end."""

import json
import sys
from subprocess import run

import datasets
import pytest
import yaml

from vidreason.a2o.__main__ import main
from vidreason.a2o.pipeline import ObjectVideoClassifier
from vidreason.detection import make_detector
from vidreason.errors import ConfigError, DetectionError
from vidreason.files import read_folder
from vidreason.sentence_embedding import minilm


def test_an_agent_chooses_objects_for_real_clips(shared_data, repository, tmp_path):
    try:
        detector = make_detector("coco")
        minilm()
    except (DetectionError, ConfigError) as error:  # packages of requirements/detection.txt or agents.txt
        pytest.skip(str(error))
    clips = shared_data / "real_actions" / "fight"
    source_of = json.loads((clips / "source_video.json").read_text())
    groups = {}
    for label, prefix in (("fight", "fi"), ("noFight", "nofi")):
        (tmp_path / "videos" / label).mkdir(parents=True)
        for source in range(3):  # one clip of each kind from each of three source videos
            name = next(n for n in sorted(source_of) if n.startswith(prefix) and source_of[n] == source)
            (tmp_path / "videos" / label / f"{name}.mp4").symlink_to(clips / label / f"{name}.mp4")
            groups[f"{label}/{name}.mp4"] = source
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    build = ["--root", tmp_path / "videos", "--out", tmp_path / "manifest", "--groups_file", tmp_path / "groups.json"]
    build += ["--fractions", "train=0.34", "validation=0.33", "test=0.33"]
    run([sys.executable, repository / "datasets_scripts" / "build_video_folder.py", *map(str, build)], check=True)
    sizes = {split: len(rows) for split, rows in read_folder(tmp_path / "manifest").items()}
    assert sizes == {"train": 2, "validation": 2, "test": 2}

    inside = {"image_size": 32, "num_frames": 2, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    inside |= {"num_spatial_layers": 1, "num_temporal_layers": 1, "adapter_depth": 0}
    training = {
        **{"manifest": str(tmp_path / "manifest"), "validation_split": "validation", "test_splits": ["test"]},
        **{"method": "object_centric", "model_type": "a2o_tsvit", "model_config": inside, "map_size_px": 32},
        **{"num_train_epochs": 1, "use_cpu": True, "save_strategy": "no", "decode_max_side_px": 64},
    }
    environment = {"detector": "coco", "frames_per_second": 1, "training": training}
    recipe = tmp_path / "search.yaml"
    settings = {"num_trials": 2, "noise_seeds": 1, "max_classes": 3, "environment_settings": environment}
    recipe.write_text(yaml.safe_dump(settings))
    out = tmp_path / "search"
    assert main([str(recipe), "--agent", "nearest", "--out", str(out)]) == 0

    first, second = datasets.load_dataset(str(out / "trials"))["trials"].to_list()
    assert first["status"] == second["status"] == "ok"
    assert len(set(first["class_texts"]) - set(second["class_texts"])) == 1  # a quarter of three classes
    # one pass finds all 80 classes: the second set was seen before it was thought of
    assert first["detections_made"] > 0 == second["detections_made"]
    facts = json.loads((out / "search.json").read_text())
    assert facts["class_texts"] in (first["class_texts"], second["class_texts"]) and "test" in facts["test_accuracy"]
    clip = next((tmp_path / "videos" / "fight").glob("*.mp4"))
    result = ObjectVideoClassifier.from_pretrained(facts["model_path"], detector)(clip)
    assert {label for label, _ in result.answers} == {"fight", "noFight"} and result.counts.failed == 0
    assert list(result.detections) == facts["class_texts"]
