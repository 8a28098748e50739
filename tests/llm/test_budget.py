"""Budgets: what is in flight counts, and reservations follow the bills."""

import logging
import threading

import pytest

from vidreason.errors import BudgetExceeded, LLMError
from vidreason.llm.chat import Usage
from vidreason.llm.cost import FREE, Budget, CostCeiling, ModelPrice, TokenEstimate


def test_what_is_in_flight_counts():
    budget = Budget(max_cost_usd=1.0, spent_usd=0.25)
    assert budget.left_usd == 0.75
    assert budget.reserve(0.5) == 0.5
    with pytest.raises(BudgetExceeded, match=r"could cost \$0\.300000, and of \$1\.000000 are \$0\.250000 spent"):
        budget.reserve(0.3)
    assert budget.in_flight_usd == 0.5  # the refused one set nothing aside
    budget.settle(0.5, 0.125)
    assert (budget.spent_usd, budget.in_flight_usd) == (0.375, 0.0)
    budget.reserve(0.3)
    budget.settle(0.3, None)  # nobody knows what it cost
    assert budget.spent_usd == pytest.approx(0.675)


def test_the_last_cent_can_be_spent():
    budget = Budget(max_cost_usd=0.3)
    for _ in range(3):
        budget.settle(budget.reserve(0.1), 0.1)  # three times 0.1 is a little more than 0.3
    with pytest.raises(BudgetExceeded):
        budget.reserve(0.001)
    budget.reserve(0.0)  # what costs nothing may go on


@pytest.mark.parametrize("max_cost_usd", [None, float("inf")])
def test_no_limit(max_cost_usd):
    budget = Budget(max_cost_usd)
    budget.settle(budget.reserve(1e9), 1e9)
    assert budget.left_usd == float("inf") and budget.spent_usd == 1e9


@pytest.mark.parametrize("max_cost_usd", [-0.01, float("nan")])
def test_limits_that_make_no_sense(max_cost_usd):
    with pytest.raises(ValueError, match="max_cost_usd"):
        Budget(max_cost_usd)


def test_a_budget_of_nothing_allows_nothing():
    with pytest.raises(LLMError):
        Budget(0.0).reserve(1e-9)


def test_threads_never_overdraw():
    budget = Budget(max_cost_usd=1.0)
    granted = []

    def work():
        for _ in range(200):
            try:
                granted.append(budget.reserve(0.01))
            except BudgetExceeded:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 100


PRICE = ModelPrice(input_usd=1.0, cached_input_usd=0.5, output_usd=10.0)


def test_ceilings_are_the_worst_case():
    ceiling = CostCeiling(PRICE, prompt_margin=1.25)
    assert ceiling.cost_usd(TokenEstimate(400, 50)) == pytest.approx((500 * 1.0 + 50 * 10.0) / 1e6)
    assert CostCeiling(PRICE, batch=True).cost_usd(TokenEstimate(400, 50)) == pytest.approx(500e-6)


def test_ceilings_learn_from_bills(caplog):
    ceiling, estimate = CostCeiling(PRICE), TokenEstimate(400, 50)
    ceiling.learn(estimate, Usage(500, 50))  # at the margin
    assert ceiling.cost_usd(estimate) == pytest.approx(1000e-6) and not caplog.text
    with caplog.at_level(logging.WARNING):
        ceiling.learn(estimate, Usage(800, 100))
    assert "800 prompt tokens where 400" in caplog.text and "100 completion tokens where at most 50" in caplog.text
    assert ceiling.cost_usd(estimate) == pytest.approx(1.05 * (800 * 1.0 + 100 * 10.0) / 1e6)
    ceiling.learn(estimate, Usage(10, 1))  # a cheap one does not make the dear ones cheaper
    assert ceiling.cost_usd(estimate) == pytest.approx(1.05 * 1800e-6)


def test_what_costs_nothing_teaches_nothing(caplog):
    ceiling = CostCeiling(FREE)
    ceiling.learn(TokenEstimate(1, 1), Usage(10**6, 10**6))
    assert ceiling.prompt_margin == 1.25 and not caplog.text
