"""What goes to the Hub: the right files, none of the others, and nothing unless it is asked for."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard, RepoCard

from vidreason.errors import ConfigError, VidreasonError
from vidreason.publishing import release
from vidreason.publishing.cards import TrainingFacts, write_model_card


def run(monkeypatch, capsys, *flags):
    monkeypatch.setattr(sys, "argv", ["vidreason-release", *map(str, flags)])
    code = release.main()
    printed = capsys.readouterr()
    return code, printed.out + printed.err


class FakeHub:
    """Notes what it is told, or fails."""

    def __init__(self, error=None):
        self.calls, self.error = [], error

    def create_repo(self, *args, **kwargs):
        if self.error:
            raise self.error
        self.calls.append(("create_repo", args, kwargs))

    def add_space_variable(self, *args):
        self.calls.append(("add_space_variable", args))

    def upload_folder(self, **kwargs):
        self.calls.append(("upload_folder", kwargs))
        return SimpleNamespace(commit_url="https://hub/commit")


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_model_goes_without_what_is_not_the_models(tmp_path, checkpoint_folders, monkeypatch, capsys):
    folder = tmp_path / "trained"
    folder.mkdir()
    for path in checkpoint_folders[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("training_args.bin", "optimizer.pt", ".env", "trainer_state.json", "notes.txt"):
        (folder / name).write_text("not for the Hub")
    flags = ("--kind", "model", "--folder", folder, "--repo_id", "owner/model", "--out", tmp_path / "out")
    code, printed = run(monkeypatch, capsys, *flags)
    assert code == 0 and "nothing was sent" in printed
    assert set(names_in(tmp_path / "out")) <= set(names_in(checkpoint_folders[0]))
    assert {"config.json", "model.safetensors", "README.md", "modeling_tsvit.py"} <= set(names_in(tmp_path / "out"))


def test_the_card_gets_the_models_name_on_the_hub_and_its_limits(tmp_path):
    facts = TrainingFacts(model_name="rs", architecture="TSViT", metrics={"test": {"top1": 0.5}})
    write_model_card(tmp_path, facts)
    release.address_card(tmp_path / "README.md", "owner/model", ["It has seen no snow."])
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.model_name == "owner/model"
    assert "\n# owner/model\n" in card.text and '"rs"' not in card.text
    assert card.text.count('"owner/model"') == 2
    assert "## Limits and biases\n\n- It has seen no snow.\n- " in card.text
    assert [result.metric_value for result in card.data.eval_results] == [0.5]


def test_notes_need_a_place_in_the_card(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("---\nlicense: mit\n---\n# Mine\n")
    release.address_card(path, "owner/model")
    assert "# Mine" in path.read_text()
    with pytest.raises(ConfigError, match="no section '## Limits and biases'"):
        release.address_card(path, "owner/model", ["It has seen no snow."])


def test_what_was_staged_loads(tmp_path, checkpoint_folders):
    release.stage_model(checkpoint_folders[0], tmp_path / "out")
    program = (
        "import sys\nfrom transformers import AutoModelForVideoClassification, AutoVideoProcessor\n"
        "AutoModelForVideoClassification.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "AutoVideoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr


def test_a_space_names_its_wheel_and_its_models(tmp_path, monkeypatch, capsys):
    wheel = tmp_path / "vidreason-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    flags = ("--kind", "space", "--repo_id", "owner/space", "--out", tmp_path / "out", "--wheel", wheel)
    code, printed = run(monkeypatch, capsys, *flags, "--model_ids", "owner/model", "owner/plain")
    assert code == 0 and "would go to the space owner/space" in printed
    names = names_in(tmp_path / "out")
    assert {"app.py", "README.md", "requirements.txt", "clipview/page.py", "clipview/style.css", wheel.name} <= set(
        names
    )
    assert not {"release.py"} & set(names) and not any("__pycache__" in name for name in names)
    requirement = (tmp_path / "out" / "requirements.txt").read_text()
    assert requirement == f"vidreason[space] @ https://huggingface.co/spaces/owner/space/resolve/main/{wheel.name}\n"
    card = RepoCard.load(tmp_path / "out" / "README.md")
    assert card.data.models == ["owner/model", "owner/plain"] and card.data.sdk == "gradio"
    assert (tmp_path / "out" / card.data.app_file).is_file()


def test_pushing_makes_the_repository_and_sends_the_folder(tmp_path):
    hub = FakeHub()
    variables = {"MODEL_IDS": "owner/model", "GUIDANCE_IDS": ""}
    assert release.push(tmp_path, "owner/space", "space", True, variables, hub) == "https://hub/commit"
    assert [call[0] for call in hub.calls] == ["create_repo", "add_space_variable", "upload_folder"]
    assert hub.calls[0][2] == {"repo_type": "space", "private": True, "exist_ok": True, "space_sdk": "gradio"}
    assert hub.calls[1][1] == ("owner/space", "MODEL_IDS", "owner/model")
    with pytest.raises(VidreasonError, match="owner/model was not published: OSError: no network"):
        release.push(tmp_path, "owner/model", "model", False, {}, FakeHub(OSError("no network")))


def test_mistakes_are_named(tmp_path, monkeypatch, capsys, checkpoint_folders):
    model = ("--kind", "model", "--repo_id", "owner/model")
    for flags, words in [
        ((*model, "--folder", tmp_path, "--out", tmp_path / "a"), "no config.json"),
        ((*model, "--folder", checkpoint_folders[0], "--out", tmp_path), "exists already"),
        (("--kind", "model", "--repo_id", "a/b/c", "--out", tmp_path / "b"), "--repo_id a/b/c"),
        (("--kind", "space", "--repo_id", "owner/space", "--out", tmp_path / "c"), "--model_ids"),
    ]:
        code, printed = run(monkeypatch, capsys, *flags)
        assert code == 1 and words in printed and "Traceback" not in printed
    without_card = tmp_path / "without_card"
    release.stage_model(checkpoint_folders[0], without_card)
    (without_card / "README.md").unlink()
    with pytest.raises(ConfigError, match="without its card"):
        release.stage_model(without_card, tmp_path / "d")
