"""TSViT with a label for every frame."""

import json

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForTokenClassification

from modeling_tsvit import TSViTConfig, TSViTForActionSegmentation


@pytest.fixture
def segmenter(make_model):
    """A segmentation model with the body of the classifier that `make_model` gives."""
    classifier = make_model()
    torch.manual_seed(0)
    model = TSViTForActionSegmentation(classifier.config).eval()
    model.load_state_dict(classifier.state_dict())
    return model, classifier


def test_every_frame_has_scores_of_the_head_on_its_own_state(segmenter, clips):
    model, classifier = segmenter
    outputs = model(clips)
    states = classifier.tsvit(clips).last_hidden_state
    assert outputs.logits.shape == (2, 6, 5)
    for frame in range(6):
        torch.testing.assert_close(outputs.logits[:, frame], classifier.classifier(states[:, frame]))
    torch.testing.assert_close(outputs.segment_logits, classifier(clips).segment_logits)
    torch.testing.assert_close(outputs.frame_attention, classifier(clips).frame_attention)


def test_loss_is_the_mean_over_labelled_frames(segmenter, clips):
    model, _ = segmenter
    labels = torch.tensor([[0, 1, -100, 3, 4, 0], [-100, -100, 2, 2, 2, -100]])
    outputs = model(clips, labels=labels)
    losses = [
        -outputs.logits[clip, frame].log_softmax(-1)[labels[clip, frame]]
        for clip in range(2)
        for frame in range(6)
        if labels[clip, frame] >= 0
    ]
    assert len(losses) == 8
    torch.testing.assert_close(outputs.loss, torch.stack(losses).mean())
    nothing = model(clips, labels=torch.full((2, 6), -100)).loss
    assert nothing == 0
    assert nothing.requires_grad


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(2, dtype=torch.long), r"\(batch, frames\), here \(2, 6\), got \(2,\)"),
        (torch.full((2, 6), 5), "holds 5"),
    ],
)
def test_labels_that_do_not_fit_are_named(segmenter, clips, labels, message):
    model, _ = segmenter
    with pytest.raises(ValueError, match=message):
        model(clips, labels=labels)


def test_padding_changes_no_frame(segmenter, clips):
    model, _ = segmenter
    padded = torch.cat((clips, torch.randn(2, 3, 3, 32, 32)), dim=1)
    mask = (torch.arange(9) < 6).expand(2, 9)
    torch.testing.assert_close(model(padded, mask).logits[:, :6], model(clips).logits, rtol=1e-4, atol=1e-5)


def test_frames_that_were_encoded_before_get_the_same_scores(segmenter, clips):
    model, _ = segmenter
    with torch.no_grad():
        one_by_one = torch.cat([model.tsvit.encode_frames(clips[:, i : i + 1])[0] for i in range(6)], dim=1)
        torch.testing.assert_close(model.predict_logits(one_by_one), model(clips).logits, rtol=1e-4, atol=1e-5)
        _, attention = model.tsvit.encode_frames(clips)
    torch.testing.assert_close(attention[:, -1], model(clips).frame_attention, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="pixel_values"):
        model.tsvit.encode_frames(clips[0])


def test_attention_carries_gradient_where_the_model_is_checkpointed(segmenter, clips):
    model, _ = segmenter
    model.train()
    gradients = []
    for checkpointing in (False, True):
        model.zero_grad()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        outputs = model(clips, labels=torch.zeros(2, 6, dtype=torch.long))
        (outputs.frame_attention.square().sum() + outputs.loss).backward()
        gradients.append(model.tsvit.spatial_layers[-1].attention.q_proj.weight.grad.clone())
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1])


def test_tokens_that_are_dropped_are_not_read(segmenter, clips):
    model, _ = segmenter
    mask = torch.ones(2, 6, 16, dtype=torch.bool)
    mask[..., 8:] = False
    changed = clips.clone()
    changed[..., 16:, :] = 7.0  # the lower half of every frame
    first, second = model(clips, token_mask=mask), model(changed, token_mask=mask)
    torch.testing.assert_close(first.logits, second.logits)
    assert (first.frame_attention[..., 8:] == 0).all()


def test_a_saved_folder_reads_back(segmenter, clips, tmp_path):
    model, _ = segmenter
    model.save_pretrained(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").glob("*.py")}
    assert "action_segmentation_tsvit.py" in names
    auto_map = json.loads((tmp_path / "saved" / "config.json").read_text())["auto_map"]
    expected = "action_segmentation_tsvit.TSViTForActionSegmentation"
    assert auto_map["AutoModelForTokenClassification"] == expected
    for read in (
        TSViTForActionSegmentation.from_pretrained(tmp_path / "saved"),
        AutoModelForTokenClassification.from_pretrained(tmp_path / "saved"),
    ):
        assert isinstance(read, TSViTForActionSegmentation)
        torch.testing.assert_close(read(clips).logits, model(clips).logits, rtol=0, atol=0)


def test_a_classifier_gives_its_body_and_head(make_model, clips, tmp_path):
    classifier = make_model()
    classifier.save_pretrained(tmp_path / "classifier")
    model, report = TSViTForActionSegmentation.from_pretrained(tmp_path / "classifier", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    states = classifier.tsvit(clips).last_hidden_state
    torch.testing.assert_close(model(clips).logits, classifier.classifier(states))


def test_it_learns_which_frame_is_which():
    torch.manual_seed(0)
    config = TSViTConfig(
        image_size=16, num_frames=8, hidden_size=16, num_spatial_layers=1, num_temporal_layers=1,
        num_attention_heads=2, intermediate_size=32, num_labels=2,
    )  # fmt: skip
    model = TSViTForActionSegmentation(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(80):
        labels = (torch.rand(8, 8) < 0.5).long()
        pixels = 0.3 * torch.randn(8, 8, 3, 16, 16)
        pixels[..., :4, :4] += labels[:, :, None, None, None] * 2.0  # one cell is brighter in frames of action 1
        loss = model(pixels, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.35 < F.cross_entropy(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
