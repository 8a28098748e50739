"""Prompts: what they say for any grid, with and without a label; files of one's own; the schemas of answers."""

import hashlib
import json
import pickle

import pytest

import vidreason.annotation.grid.prompts as prompting
from vidreason.annotation.grid.prompts import PROMPT_NAMES, load_prompt, read_answer
from vidreason.errors import ConfigError

FORM_KEYS = {"key_r": ['"key_r"'], "im_o": ['"all_os"', '"im_o"', '"location"']}
FORM_KEYS["localization"] = ['"important_objects"', '"localization"', '"cells"']
FORM_OF = {"ucf": "key_r", "ssv2": "key_r", "desktop_assembly": "im_o", "general": "localization"}

OWN = "id: mine\nform: key_r\n\n[system]\nYou look.\n\n[user]\n{{ rows }} x {{ cols }}: {{ label or 'any action' }}?\n"


def own_prompt(tmp_path, text: str = OWN):
    path = tmp_path / "mine.txt"
    path.write_bytes(text.encode("utf-8"))
    return path


@pytest.mark.parametrize("name", PROMPT_NAMES)
def test_built_in_prompts_say_what_the_paper_s_say(name):
    prompt = load_prompt(name)
    system, user = prompt.render((4, 4), "SoccerJuggling", 240, 320, dataset_name="UCF101")
    assert prompt.form == FORM_OF[name]
    assert "UCF101" in system and "SoccerJuggling" in user
    assert all(key in user for key in FORM_KEYS[prompt.form])
    if prompt.form == "im_o":
        assert "320 pixels wide and 240 pixels high" in user
    else:
        assert "4 rows and 4 columns" in user
        assert "0 at the top to 3 at the bottom" in user and "0 at the left to 3 at the right" in user
    assert "{{" not in system + user and "{%" not in system + user


@pytest.mark.parametrize("name", PROMPT_NAMES)
def test_built_in_prompts_without_label_and_name(name):
    system, user = load_prompt(name).render((4, 4), None, 240, 320)
    assert "None" not in system + user and '""' not in system + user
    assert "the action that is going on" in user
    assert user != load_prompt(name).render((4, 4), "SoccerJuggling", 240, 320)[1]
    assert "  " not in system + user  # nothing was cut out of the middle of a line


@pytest.mark.parametrize("name", ["ucf", "ssv2", "general"])
def test_any_grid(name):
    user = load_prompt(name).render((2, 7), "Wave", 240, 320)[1]
    assert "2 rows and 7 columns" in user
    assert "0 at the top to 1 at the bottom" in user and "0 at the left to 6 at the right" in user


def test_prompts_are_known_by_id_and_bytes(tmp_path):
    prompts = [load_prompt(name) for name in PROMPT_NAMES]
    assert len({prompt.prompt_id for prompt in prompts}) == len({prompt.sha256 for prompt in prompts}) == 4
    path = own_prompt(tmp_path)
    prompt = load_prompt(path)
    assert (prompt.prompt_id, prompt.form) == ("mine", "key_r")
    assert prompt.sha256 == hashlib.sha256(OWN.encode()).hexdigest()
    assert load_prompt(str(path)) == prompt
    assert load_prompt(own_prompt(tmp_path, OWN.replace("look", "see"))).sha256 != prompt.sha256


def test_a_prompt_of_one_s_own(tmp_path):
    prompt = load_prompt(own_prompt(tmp_path))
    assert prompt.render((3, 5), "Wave", 1, 1) == ("You look.", "3 x 5: Wave?")
    assert prompt.render((3, 5), None, 1, 1) == ("You look.", "3 x 5: any action?")
    windows = load_prompt(own_prompt(tmp_path, "\ufeff" + OWN.replace("\n", "\r\n")))
    assert windows.render((3, 5), "Wave", 1, 1) == ("You look.", "3 x 5: Wave?")


def test_a_label_is_text_and_no_template(tmp_path):
    label = '{{ rows }} "tricks" {% if %}'
    assert load_prompt(own_prompt(tmp_path)).render((3, 5), label, 1, 1)[1] == f"3 x 5: {label}?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("form: key_r", "form: boxes"), "form is 'boxes'"),
        (OWN.replace("id: mine\n", ""), "expected the lines"),
        (OWN.replace("id: mine", "id:"), "expected the lines"),
        (OWN.replace("id: mine", "id: mine\nmodel: x"), "expected the lines"),
        (OWN.replace("[user]", "[reader]"), r"one part \[system\] and one part \[user\]"),
        (OWN + "[user]\nagain\n", r"one part \[system\] and one part \[user\]"),
        (OWN.replace("label or", "labl or"), "'labl' is undefined"),
        (OWN.replace("label or 'any action'", "label.upper()"), "mine"),  # works with a label only
        (OWN.replace("{{ rows }}", "{{ rows"), "mine"),
        (OWN.replace("{{ rows }}", "{{ rows / 0 }}"), "division by zero"),
        (OWN.replace("{{ rows }}", "{{ rows.__class__.__mro__ }}"), "unsafe"),
        ("", "expected the lines"),
    ],
)
def test_a_broken_prompt_is_found_before_anything_is_asked(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_prompt(own_prompt(tmp_path, text))


def test_prompts_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="neither one of ucf, ssv2, desktop_assembly, general nor a file"):
        load_prompt("ucf101")
    with pytest.raises(ConfigError, match="neither"):
        load_prompt(tmp_path)
    (tmp_path / "latin.txt").write_bytes(OWN.replace("look", "look\xe9").encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_prompt(tmp_path / "latin.txt")


def strict_problems(schema: dict, path: str = "") -> list[str]:
    """What OpenAI's strict mode would refuse in a schema."""
    problems = []
    if schema["type"] == "object":
        if schema.get("additionalProperties") is not False:
            problems.append(f"{path}: additionalProperties")
        if sorted(schema["required"]) != sorted(schema["properties"]):
            problems.append(f"{path}: required")
        for name, part in schema["properties"].items():
            problems += strict_problems(part, f"{path}.{name}")
    elif schema["type"] == "array":
        problems += strict_problems(schema["items"], f"{path}[]")
    elif schema["type"] not in ("string", "integer"):
        problems.append(f"{path}: {schema['type']}")
    return problems


def fits(value, schema: dict) -> bool:
    """A value against the few words of JSON schema that the schemas use."""
    if schema["type"] == "object":
        properties = schema["properties"]
        return set(value) == set(properties) and all(fits(value[name], properties[name]) for name in value)
    if schema["type"] == "array":
        within = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return within and all(fits(entry, schema["items"]) for entry in value)
    kind = {"string": str, "integer": int}[schema["type"]]
    return isinstance(value, kind) and value in schema.get("enum", [value])


@pytest.mark.parametrize("name", PROMPT_NAMES)
def test_schemas_are_strict_and_hold_what_is_read(name):
    prompt = load_prompt(name)
    schema = prompt.schema((3, 5))
    assert strict_problems(schema) == []
    json.dumps(schema)
    for count in (1, 4, 15):
        text = prompt.example_answer(count)
        assert fits(json.loads(text), schema)
        answer = read_answer(text, (3, 5), 240, 320)
        assert sum(answer.weights) >= 1 and answer.notes == ()
    assert len(prompt.example_answer(15)) > len(prompt.example_answer(2))


@pytest.mark.parametrize("cell", [[5, 0], [1], [0, 1, 2], [-1, 0], [1.0, 2], "1,2"])
def test_schemas_keep_other_cells_out(cell):
    assert fits({"key_r": [[2, 4]]}, load_prompt("ucf").schema((3, 5)))
    assert not fits({"key_r": [cell]}, load_prompt("ucf").schema((3, 5)))


def test_prompts_travel_to_other_processes():
    prompt = load_prompt("general")
    prompt.render((4, 4), "Wave", 240, 320)
    assert pickle.loads(pickle.dumps(prompt)) == prompt


def test_every_prompt_file_has_its_name():
    files = {path.stem for path in prompting._FOLDER.glob("*.txt")}
    assert files == set(PROMPT_NAMES)
