"""Searches that are killed (SIGKILL) at each of their points and go on: one table, one payment, no training twice."""

import signal
import subprocess
import sys

import pytest
from fixtures.object_search import WorthEnvironment

from vidreason.a2o.agents import make_agent
from vidreason.a2o.loop import SearchSettings, search
from vidreason.errors import LLMError
from vidreason.files import read_folder
from vidreason.llm.store import RequestStore

pytest.importorskip("aiohttp")
from vidreason.llm.testing.chat_server import ChatServer

LISTS = ["person\nball", "person\nnet\nhoop", "Ball\nperson", "ball\nnet\nhoop"]
PRICE = [1.0, 2.0]

RUN = """
import os, signal, sys
folder, url, point, tests = sys.argv[1:]
sys.path.insert(0, tests)
from fixtures.object_search import WorthEnvironment
from vidreason.a2o import loop
from vidreason.a2o.agents import make_agent, in_context
from vidreason.a2o.agents.language_model import LanguageModel
from vidreason.a2o.trials import TrialStore
from vidreason.llm.store import RequestStore

def kill():
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()

trial = 2
if point == "before request":
    asked = LanguageModel.ask
    def ask(self, prompt, values, *rest, **named):
        if "### Iteration 1" in values["history"] and "### Iteration 2" not in values["history"]:
            kill()
        return asked(self, prompt, values, *rest, **named)
    LanguageModel.ask = ask
if point == "after request":
    add = TrialStore.add
    TrialStore.add = lambda self, number, *rest: kill() if number == trial else add(self, number, *rest)
if point == "after training":
    end = TrialStore.end
    def ended(self, training_id, outcome, seconds, error=""):
        end(self, training_id, outcome, seconds, error)
        if len([t for t in self.trials() if t.trainings]) == trial:
            kill()
    TrialStore.end = ended
environment = WorthEnvironment(log=folder + "/log", kill_in=trial if point == "in training" else 0)
with RequestStore(folder + "/requests.sqlite") as store:
    agent = make_agent("openai", {"model": "m", "base_url": url, "price_usd": [1.0, 2.0], "max_cost_usd": 1.0}, store)
    loop.search(environment, agent, folder, loop.SearchSettings(num_trials=4, noise_seeds=2))
"""


def answer(payload):
    """The list for the number of trials in the history, or the reasons."""
    text = payload["messages"][-1]["content"]
    return "They differ in the ball." if "summarise" in text else LISTS[text.count("### Iteration")]


def finish(folder, url):
    with RequestStore(folder / "requests.sqlite") as store:
        settings = {"model": "m", "base_url": url, "price_usd": PRICE, "max_cost_usd": 1.0}
        agent = make_agent("openai", settings, store)
        result = search(
            WorthEnvironment(log=folder / "log"), agent, folder, SearchSettings(num_trials=4, noise_seeds=2)
        )
        return result, store.totals()


def rows_of(folder):
    """The table without what a clock says, and without what the fake detector has in its memory alone."""
    moving = ("seconds", "full_seconds", "detections_made", "detections_reused")
    return [
        {k: repr(v) for k, v in row.items() if k not in moving} for row in read_folder(folder / "trials")["trials"]
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same search, left alone."""
    folder = tmp_path_factory.mktemp("whole")
    with ChatServer(answer) as server:
        result, totals = finish(folder, server.url)
    assert [trial.status for trial in result.trials] == ["ok", "ok", "duplicate", "ok"]
    assert result.class_texts == ("ball", "net", "hoop") and result.reasons == "They differ in the ball."
    return rows_of(folder), totals, (folder / "log").read_text()


@pytest.mark.parametrize("point", ["before request", "after request", "in training", "after training"])
def test_a_killed_search_goes_on_to_the_same_table(tmp_path, repository, whole, point):
    rows, totals, log = whole
    with ChatServer(answer) as server:
        arguments = [sys.executable, "-c", RUN, str(tmp_path), server.url, point, str(repository / "tests")]
        killed = subprocess.run(arguments, cwd=repository, capture_output=True, text=True, timeout=120)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert len(server.log) == (1 if point == "before request" else 2)
        _, resumed = finish(tmp_path, server.url)
        assert len(server.log) == 5  # four proposals and the reasons, each of them once
        assert max(entry.attempt for entry in server.log) == 1
    assert rows_of(tmp_path) == rows
    assert (tmp_path / "log").read_text() == log  # every training once
    assert (resumed.cost_usd, resumed.attempts) == (totals.cost_usd, totals.attempts)


def test_a_finished_search_asks_and_trains_nothing(tmp_path):
    with ChatServer(answer) as server:
        first, _ = finish(tmp_path, server.url)
        log, asked = (tmp_path / "log").read_text(), len(server.log)
        again, _ = finish(tmp_path, server.url)
        assert again == first and (tmp_path / "log").read_text() == log and len(server.log) == asked


def test_a_server_that_is_gone_in_trial_3_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("vidreason.llm.online._FIRST_SILENCE_S", 0.001)
    monkeypatch.setattr("vidreason.llm.online._MAX_SILENCE_S", 0.002)
    server = ChatServer(lambda payload: answer(payload))
    server.start()

    class Unplugging(WorthEnvironment):
        def proxy(self, class_texts, seed, trial, max_seconds=None):
            if trial == 2:
                server.stop()
            return super().proxy(class_texts, seed, trial, max_seconds)

    with RequestStore(tmp_path / "requests.sqlite") as store:
        settings = {"model": "m", "base_url": server.url, "price_usd": PRICE, "max_cost_usd": 1.0}
        agent = make_agent("openai", settings, store)
        # by what the system says, and not by what some library tried first
        with pytest.raises(LLMError, match=r"cannot be reached.*Connect"):
            search(Unplugging(log=tmp_path / "log"), agent, tmp_path, SearchSettings(num_trials=4, noise_seeds=2))
        paid = store.totals().cost_usd
    with ChatServer(answer, port=server.port) as back:
        result, totals = finish(tmp_path, back.url)
        assert len(back.log) == 3  # trials 3 and 4 and the reasons
    assert totals.cost_usd > paid > 0 and len(result.trials) == 4
    assert (tmp_path / "log").read_text().count("proxy person,net,hoop") == 1
