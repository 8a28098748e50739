"""What is released: whole, as its record says, and loadable from its folders alone; and the script that makes it."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from vidreason.errors import ConfigError
from vidreason.guidance import load_guidance
from vidreason.publishing.release import WHEEL_SOURCES

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / "release"
MODELS = ("plain", "rs", "rs_evidence", "assembly", "object_maps")
SECTIONS = (
    *(
        "How to use",
        "Intended use",
        "Out of scope",
        "Training data",
        "Guidance",
        "Object maps",
        "Supervision",
        "Training",
        "Results",
    ),
    *("Limits and biases", "Citation"),
)
ACTIONS = ("top1", "top5", "loss", "attention_in_region", "pointing_accuracy")
ONE_MODEL_BYTES = 2_000_000

# Away from the clone, with the library out of reach: the folder alone has to do.
LOAD_ALONE = """
import json, sys
sys.modules |= dict.fromkeys(("vidreason", "modeling_tsvit", "modeling_a2o"))  # importing one is an ImportError
import torch, transformers
answers = {}
for folder in sys.argv[2:]:
    name = folder.rsplit("/", 1)[-1]
    kind = "TokenClassification" if name == "assembly" else "VideoClassification"
    model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(folder, trust_remote_code=True)
    processor = transformers.AutoVideoProcessor.from_pretrained(folder, trust_remote_code=True)
    inputs = processor(sys.argv[1], num_frames=8, do_sample_frames=True, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    answers[name] = [list(outputs.logits.shape), list(outputs.frame_attention.shape), type(model).__module__]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def script():
    """`release/make.py` as a module; it lies beside what it makes, in no package."""
    spec = importlib.util.spec_from_file_location("make_release", RELEASE / "make.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_release"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record():
    return json.loads((RELEASE / "release.json").read_text(encoding="utf-8"))


def test_the_files_are_those_of_the_record_and_small(script, record):
    assert script.check(RELEASE) == len(record["files"])
    for name in MODELS:
        assert sum(path.stat().st_size for path in (RELEASE / name).iterdir()) < ONE_MODEL_BYTES
    assert script.size_of(RELEASE) < 9_500_000
    kinds = {Path(name).suffix for name in record["files"]}
    assert kinds == {".safetensors", ".json", ".md", ".py", ".parquet", ".png"}  # no pickles, no videos
    assert "release" not in WHEEL_SOURCES


def test_a_file_that_is_changed_missing_or_new_is_named(script, tmp_path):
    copy = tmp_path / "release"
    shutil.copytree(RELEASE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert script.check(copy)
    weights = copy / "rs" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (copy / "plain" / "config.json").unlink()
    (copy / "plain" / "training_args.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError) as caught:
        script.check(copy)
    assert "plain/config.json is missing; plain/training_args.bin is not in the record; rs/model" in str(caught.value)
    (copy / "release.json").write_text("[]")
    with pytest.raises(ConfigError, match="no record of a release"):
        script.check(copy)


def test_the_code_is_the_models_present_code(script, tmp_path):
    for path in (path for name in MODELS for path in (RELEASE / name).glob("*.py")):
        code = "modeling_a2o" if path.stem.endswith("_a2o") else "modeling_tsvit"
        assert path.read_bytes() == (ROOT / code / path.name).read_bytes(), (
            f"{path} is older than {code}: run `python release/make.py --renew_code true`"
        )
    copy = tmp_path / "release"
    shutil.copytree(RELEASE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    old = copy / "plain" / "modeling_tsvit.py"
    old.write_text("# old\n")
    (copy / "release.json").write_text(
        json.dumps(script.read_record(copy) | {"files": script.hashes(copy)}), encoding="utf-8"
    )
    assert script.renew_code(copy) == 1
    assert old.read_bytes() == (ROOT / "modeling_tsvit" / "modeling_tsvit.py").read_bytes()
    assert script.check(copy) == script.check(RELEASE)


@pytest.mark.parametrize("name", MODELS)
def test_cards_say_what_the_record_says(name, record):
    card = ModelCard.load(RELEASE / name / "README.md")
    facts = record["models"][name]
    assert card.data.model_name == facts["repo_id"]
    assert card.data.license == "apache-2.0"
    sections = [title for title in SECTIONS if title != "Object maps" or name == "object_maps"]
    assert re.findall(r"^## (.*)$", card.text, re.MULTILINE) == sections
    results = {(r.dataset_split, r.metric_name): r.metric_value for r in card.data.eval_results}
    recorded = {(split, metric): value for split, found in facts["metrics"].items() for metric, value in found.items()}
    assert results == pytest.approx(recorded)
    # where a training reads no guidance, attention is not measured against any
    always = ("top1", "attention_in_region") if name != "object_maps" else ("top1",)
    assert set(recorded) >= {(split, metric) for split in ("test", "test_shifted") for metric in always}
    if name != "assembly":
        metrics = ACTIONS if name != "object_maps" else ACTIONS[:3]
        assert set(recorded) == {(split, metric) for split in ("test", "test_shifted") for metric in metrics}
        assert card.data.pipeline_tag == "video-classification"
    if name == "object_maps":
        assert "misses 0.2" in card.text and record["detections"]["misses"] == 0.2
        assert ", ".join(f"`{text}`" for text in record["detections"]["classes"]) in card.text
    elif name != "assembly":
        assert "`make demo` tests it on a world of another seed (10)" in card.text
    assert f"- **Epochs:** {10 if name == 'assembly' else 40}\n" in card.text
    limits = card.text.split("## Limits and biases")[1]
    assert "no real video" in limits and "world of seed 0" in limits
    for block in re.findall(r"```python\n(.*?)```", card.text, re.DOTALL):
        compile(block, "card", "exec")
    published = ROOT / "model_cards" / "released" / f"{facts['repo_id'].split('/')[1]}.md"
    assert published.read_bytes() == (RELEASE / name / "README.md").read_bytes()


def test_models_load_from_their_folders_alone(tmp_path, solid_clip):
    folders = []
    for name in MODELS:
        shutil.copytree(RELEASE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        folders.append(tmp_path / name)
    command = [sys.executable, "-c", LOAD_ALONE, solid_clip, *folders]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    for name in MODELS:
        logits, attention, module = answers[name]
        assert logits == ([1, 8, 15] if name == "assembly" else [1, 12])
        assert attention == [1, 8, 16]
        assert module.startswith("transformers_modules.")


@pytest.fixture
def solid_clip(tmp_path):
    import numpy as np

    from vidreason.video import write_video

    path = tmp_path / "clip.mp4"
    write_video(path, np.full((12, 64, 64, 3), 90, np.uint8), 8.0)
    return path


def test_the_guidance_is_that_of_one_worlds_test_splits_and_holds_no_pixels(record):
    tables = load_guidance(RELEASE / "guidance")
    assert set(tables) == {"test", "test_shifted"}
    for split, rows in tables.items():
        assert len(rows) == 240 * 24
        assert set(rows["split"]) == {split}
        assert set(rows["status"]) <= {"ok", "empty"}
    card = (RELEASE / "guidance" / "README.md").read_text(encoding="utf-8")
    assert "cc-by-4.0" in card and "world of seed 0" in card
    assert "no pixels of the videos" in card


def test_the_script_makes_all_of_it_and_compares(script, record, tmp_path, monkeypatch):
    """Tiny worlds and two steps; the second call trains nothing anew."""
    args = script.MakeArguments(str(tmp_path / "out"), str(tmp_path / "work"), num_proc=1, trial=True)
    script.make(args)
    made = script.read_record(tmp_path / "out")
    assert {Path(name).parts[0] for name in made["files"]} == {*MODELS, "guidance"}
    assert script.check(tmp_path / "out") == len(made["files"]) == len(record["files"])
    assert set(made["models"]) == set(record["models"])
    assert made["models"]["rs"]["recipe_sha256"] == record["models"]["rs"]["recipe_sha256"]  # the recipe is as it was
    for system in (script.supervised, script.object_centric):
        monkeypatch.setattr(system, "run_training", None)
    script.make(args)
    assert script.read_record(tmp_path / "out") == made
    assert script.compare(made, made) == [f"{name}: the same weights, to the bit" for name in MODELS] + [
        "guidance: the same tables, to the bit"
    ]
    far = json.loads(json.dumps(made))
    far["files"]["rs/model.safetensors"] = "0"
    far["models"]["rs"]["metrics"]["test"]["top1"] += 0.2
    assert (
        script.compare(made, far)[1]
        == "rs: other bits, metrics NOT within 10 points; farthest is top1 on test by 20.0"
    )
