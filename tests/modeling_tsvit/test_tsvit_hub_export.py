"""Saved folders: they load as they were, and alone, in a process that cannot import this project."""

import json
import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor, pipeline

from modeling_tsvit import TSViTForActionSegmentation, TSViTForVideoClassification, TSViTModel, TSViTVideoProcessor

CODE_FILES = {
    "configuration_tsvit.py",
    "modeling_tsvit.py",
    "video_processing_tsvit.py",
}

SEGMENTER_FILES = CODE_FILES - {"video_processing_tsvit.py"} | {"action_segmentation_tsvit.py"}


@pytest.fixture
def exported(make_model, tmp_path):
    """A model and its processor in one folder, as a training run leaves them."""
    folder = tmp_path / "tsvit-tiny.v1"
    labels = {0: "wave", 1: "juggle", 2: "run", 3: "sit", 4: "fall"}
    model = make_model(id2label=labels, label2id={name: index for index, name in labels.items()})
    model.save_pretrained(folder)
    TSViTVideoProcessor(size={"height": 32, "width": 32}, num_frames=6).save_pretrained(folder)
    return folder, model


def test_folder_holds_weights_and_code(exported):
    folder, _ = exported
    names = {path.name for path in folder.iterdir()}
    assert names == CODE_FILES | {"model.safetensors", "config.json", "video_preprocessor_config.json"}
    config = json.loads((folder / "config.json").read_text())
    assert config["auto_map"]["AutoModelForVideoClassification"] == "modeling_tsvit.TSViTForVideoClassification"


@pytest.mark.parametrize("patch_embedding", ["linear", "conv_stem"])
def test_model_reads_back_as_it_was(make_model, clips, tmp_path, patch_embedding):
    model = make_model(patch_embedding=patch_embedding, supervised_layers="all")
    model.save_pretrained(tmp_path / "saved")
    torch.manual_seed(99)  # whatever were not filled from the file would differ
    read, report = AutoModelForVideoClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert isinstance(read, TSViTForVideoClassification)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], value, rtol=0, atol=0, msg=name)
    torch.testing.assert_close(read(clips).logits, model(clips).logits, rtol=0, atol=0)


def test_base_model_takes_the_weights_of_the_classifier(exported, clips):
    folder, model = exported
    base, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert isinstance(base, TSViTModel)
    assert not report["missing_keys"]
    torch.testing.assert_close(base(clips).pooler_output, model.tsvit(clips).pooler_output, rtol=0, atol=0)


def test_a_new_head_is_reported_and_the_rest_is_kept(exported):
    folder, model = exported
    read, report = AutoModelForVideoClassification.from_pretrained(
        folder, num_labels=7, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert {key[0] for key in report["mismatched_keys"]} == {"classifier.out_proj.weight", "classifier.out_proj.bias"}
    torch.testing.assert_close(read.tsvit.state_dict(), model.tsvit.state_dict(), rtol=0, atol=0)


def test_processor_reads_back_as_it_was(exported):
    folder, _ = exported
    read = AutoVideoProcessor.from_pretrained(folder)
    assert isinstance(read, TSViTVideoProcessor)
    written = TSViTVideoProcessor(size={"height": 32, "width": 32}, num_frames=6).to_dict()
    read_values = {name: value for name, value in read.to_dict().items() if name != "auto_map"}
    assert read_values == {name: value for name, value in written.items() if name != "auto_map"}


def test_sdpa_is_the_default_and_eager_a_choice(exported):
    folder, _ = exported
    assert AutoModelForVideoClassification.from_pretrained(folder).config._attn_implementation == "sdpa"
    eager = AutoModelForVideoClassification.from_pretrained(folder, attn_implementation="eager")
    assert eager.config._attn_implementation == "eager"


@pytest.mark.parametrize("initializer_range", [None, 0.02])
def test_new_weights_have_the_spread_they_should(make_model, initializer_range):
    model = make_model(initializer_range=initializer_range, hidden_size=64, intermediate_size=128)
    layer = model.tsvit.spatial_layers[0]
    for weight in (layer.attention.q_proj.weight, layer.mlp.fc2.weight):
        expected = initializer_range or weight.shape[1] ** -0.5
        assert weight.std().item() == pytest.approx(expected, rel=0.1)
    assert layer.mlp.fc2.bias.abs().max() == 0
    assert (layer.layernorm_before.weight == 1).all()
    for embeddings in (model.tsvit.spatial_embeddings, model.tsvit.temporal_embeddings):
        assert embeddings.position_embeddings.std().item() == pytest.approx(0.5, rel=0.15)
    assert model.tsvit.spatial_embeddings.cls_token.std().item() == pytest.approx(0.02, rel=0.4)


def real_clips(shared_data) -> list[str]:
    paths = [
        shared_data / "clips" / "UCF-101" / "SoccerJuggling" / "v_SoccerJuggling_g23_c01.avi",
        next((shared_data / "clips" / "HMDB51" / "wave").glob("*.avi")),
        next((shared_data / "clips" / "Kinetics").glob("*.mp4")),
    ]
    return [str(path) for path in paths]


def test_pipeline_on_real_clips(exported, shared_data):
    folder, model = exported
    classify = pipeline("video-classification", model=str(folder))
    processor = TSViTVideoProcessor.from_pretrained(folder)
    for path in real_clips(shared_data):
        answers = classify(path, top_k=5)
        assert {answer["label"] for answer in answers} == {"wave", "juggle", "run", "sit", "fall"}
        logits = model(**processor(path, return_tensors="pt")).logits[0]
        best = logits.softmax(-1).max().item()
        assert answers[0]["score"] == pytest.approx(best, abs=1e-5)
        assert answers[0]["label"] == model.config.id2label[logits.argmax().item()]


# Runs with the exported folder alone: this project cannot be imported there.
ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("modeling_tsvit", "vidreason"):
            raise ModuleNotFoundError(f"No module named {name!r} in this process", name=name)

sys.meta_path.insert(0, Blocked())
import json
import torch
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor, pipeline

folder, frames_file, *videos = sys.argv[1:]
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model, report = AutoModelForVideoClassification.from_pretrained(
    folder, trust_remote_code=True, output_loading_info=True
)
processor = AutoVideoProcessor.from_pretrained(folder, trust_remote_code=True)
inputs = processor(torch.load(frames_file), return_tensors="pt")
outputs = model(**inputs)
classify = pipeline("video-classification", model=folder, trust_remote_code=True)
model.save_pretrained(folder + "-again")
processor.save_pretrained(folder + "-again")
again = AutoModelForVideoClassification.from_pretrained(folder + "-again", trust_remote_code=True)
print(json.dumps({
    "missing": sorted(report["missing_keys"]),
    "model_type": config.model_type,
    "module": type(model).__module__,
    "logits": outputs.logits.tolist(),
    "again": again(**inputs).logits.tolist(),
    "attention": outputs.frame_attention[0, 0].tolist(),
    "answers": [classify(video) for video in videos],
}))
"""


SEGMENTER_ALONE = (
    ALONE[: ALONE.index("import json")]
    + """
import json
import torch
from transformers import AutoModelForTokenClassification

model = AutoModelForTokenClassification.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
outputs = model(torch.load(sys.argv[2]))
states, _ = model.tsvit.encode_frames(torch.load(sys.argv[2]))
print(json.dumps({"module": type(model).__module__, "logits": outputs.logits.tolist(),
                  "from_states": model.predict_logits(states).tolist()}))
"""
)


def run_alone(tmp_path, *arguments, script=ALONE) -> dict:
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf_home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    result = subprocess.run(
        [sys.executable, "-I", "-c", script, *map(str, arguments)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_exported_folder_works_alone(exported, tmp_path, write_clip, repository):
    """With written clips, and with real ones where they are at hand: one process for both, it starts slowly."""
    folder, model = exported
    frames = torch.randint(0, 256, (9, 3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    torch.save(frames, tmp_path / "frames.pt")
    data = repository.parent / "shared" / "data"
    videos = [write_clip("alone.avi"), write_clip("alone.mp4"), *(real_clips(data) if data.is_dir() else [])]
    answer = run_alone(tmp_path, folder, tmp_path / "frames.pt", *videos)

    assert answer["missing"] == []
    assert answer["model_type"] == "tsvit"
    assert answer["module"].startswith("transformers_modules.")
    processor = TSViTVideoProcessor.from_pretrained(folder)
    outputs = model(**processor(frames, return_tensors="pt"))
    torch.testing.assert_close(torch.tensor(answer["logits"]), outputs.logits)
    torch.testing.assert_close(torch.tensor(answer["again"]), outputs.logits)
    torch.testing.assert_close(torch.tensor(answer["attention"]), outputs.frame_attention[0, 0])
    for video, answers in zip(videos, answer["answers"], strict=True):
        best = model(**processor(str(video), return_tensors="pt")).logits[0].softmax(-1).max().item()
        assert len(answers) == 5
        assert answers[0]["score"] == pytest.approx(best, abs=1e-4)


def test_exported_segmenter_works_alone(make_model, clips, tmp_path):
    classifier = make_model()
    model = TSViTForActionSegmentation(classifier.config).eval()
    model.save_pretrained(tmp_path / "segmenter")
    assert {path.name for path in (tmp_path / "segmenter").glob("*.py")} == SEGMENTER_FILES
    torch.save(clips, tmp_path / "clips.pt")
    answer = run_alone(tmp_path, tmp_path / "segmenter", tmp_path / "clips.pt", script=SEGMENTER_ALONE)
    assert answer["module"].startswith("transformers_modules.")
    for name in ("logits", "from_states"):
        torch.testing.assert_close(torch.tensor(answer[name]), model(clips).logits, rtol=1e-4, atol=1e-5)


def test_configuration_class_is_known_to_auto_config():
    assert type(AutoConfig.for_model("tsvit", num_frames=3)).__name__ == "TSViTConfig"
