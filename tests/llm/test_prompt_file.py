"""Prompts in files: their form, their identity, and what is filled in."""

import hashlib

import pytest

from vidreason.errors import ConfigError
from vidreason.llm.chat import read_prompt_file

TEXT = "id: greeting-1\n\n[system]\nYou greet.\n\n[user]\nGreet {{ name }}.\n"


def test_a_prompt_is_known_by_its_bytes_and_filled_in(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text(TEXT)
    prompt = read_prompt_file(path)
    assert prompt.prompt_id == "greeting-1" and prompt.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert prompt.render({"name": "Ada"}) == ("You greet.", "Greet Ada.")
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert read_prompt_file(path).render({"name": "Ada"}) == ("You greet.", "Greet Ada.")
    with pytest.raises(ConfigError, match=r"'greeting-1'.*'name' is undefined"):
        prompt.render({})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (TEXT.replace("id: greeting-1", "name: x").encode(), "expected the lines `id: ...` first"),
        (TEXT.replace("[user]", "[users]").encode(), "one part .system. and one part .user."),
    ],
)
def test_what_is_no_prompt_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "prompt.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"prompt.txt.*{message}"):
        read_prompt_file(path)


def test_a_template_runs_no_code(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text(TEXT.replace("{{ name }}", "{{ name.__class__.__mro__ }}"))
    with pytest.raises(ConfigError, match="unsafe"):
        read_prompt_file(path).render({"name": "Ada"})
