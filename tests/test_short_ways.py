"""A frame's way from its file to the loss, in files of this project: few of them, and little to and fro."""

from pathlib import Path

import pytest
import torch
from fixtures.file_entries import FileEntries

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification, TSViTVideoProcessor
from vidreason.annotation import truth_guidance
from vidreason.clips.data import ClipSettings, GuidedClips
from vidreason.clips.transforms import AugmentationConfig, training_transform
from vidreason.files import read_folder
from vidreason.guidance import GuidanceIndex, load_guidance, write_guidance
from vidreason.rs.config import RSConfig
from vidreason.rs.evidence import EvidenceZoom, draw_view
from vidreason.rs.trainer import RSTrainer
from vidreason.synthetic import WorldConfig, build_synthetic_actions

ROOT = Path(__file__).resolve().parents[1]

MAX_MOVES_OF_A_CLIP = 39
MAX_FILES_OF_A_CLIP = 7
MAX_FILES_TO_THE_LOSS = 11


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> GuidedClips:
    """Training clips of 16 jittered frames with guidance, each cropped to its evidence; all were read once."""
    folder = tmp_path_factory.mktemp("ways")
    manifest = build_synthetic_actions(folder / "world", WorldConfig(num_frames=24), {"train": 12}, seed=0)
    truth = read_folder(folder / "world" / "truth")
    write_guidance(folder / "guidance", {"train": truth_guidance(truth["train"], (4, 4))})
    processor = TSViTVideoProcessor(size={"height": 64, "width": 64}, num_frames=16)
    clips = GuidedClips(
        manifest,
        "train",
        training_transform(processor, (4, 4), AugmentationConfig(), zoom=EvidenceZoom(1.0)),
        ClipSettings(num_frames=16, sampling="jittered", decode_max_side_px=96),
        GuidanceIndex(load_guidance(folder / "guidance")["train"]),
        extras=draw_view,
    )
    assert all("ok" in clip["guidance_status"] for clip in clips)
    return clips


def test_a_clip_is_read_in_few_files(clips):
    with FileEntries(ROOT) as entries:
        clip = clips[0]
    assert clip["pixel_values"].shape == (16, 3, 64, 64)
    assert entries.moves <= MAX_MOVES_OF_A_CLIP, entries.files
    assert len(entries.files) <= MAX_FILES_OF_A_CLIP, entries.files


def test_a_frame_passes_few_files_on_its_way_to_the_loss(clips, tmp_path):
    args = RSConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to="none",
        per_device_train_batch_size=2,
        save_strategy="no",
        max_steps=1,
        disable_tqdm=True,
        evidence_swap=0.5,
    )
    names = dict(enumerate(clips.reader.class_names))
    torch.manual_seed(0)
    config = TSViTConfig(
        image_size=64,
        num_frames=16,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_spatial_layers=1,
        num_temporal_layers=1,
        id2label=names,
    )
    trainer = RSTrainer(model=TSViTForVideoClassification(config), args=args, train_dataset=clips)
    trainer.train()  # what is done once a run or an epoch is not on the way of a frame
    batches = iter(trainer.get_train_dataloader())
    with FileEntries(ROOT) as entries:
        (batch,), num_items = trainer.get_batch_samples(batches, 1, trainer.args.device)
        loss = trainer.training_step(trainer.model, batch, num_items)
    assert torch.isfinite(loss)
    assert len(entries.files) <= MAX_FILES_TO_THE_LOSS, sorted(entries.files)


def test_the_profile_counts_files_and_moves(tmp_path):
    package = tmp_path / "vidreason"
    package.mkdir()
    namespace: dict = {}
    for name, text in {
        "a.py": "def steps():\n    yield 1\n    yield 2\n",
        "b.py": "def walk(steps):\n    return sum(steps())\n",
    }.items():
        exec(compile(text, str(package / name), "exec"), namespace)
    with FileEntries(tmp_path) as entries:
        assert namespace["walk"](namespace["steps"]) == 3
    # into the generator's file three times (two steps and its end), and back each time; and into `walk` before
    assert entries.files == {"vidreason/b.py": 1, "vidreason/a.py": 3}
    assert entries.moves == 7
