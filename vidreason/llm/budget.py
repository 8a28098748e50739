"""A hard stop for money: what is on its way counts as spent at the most that it could cost."""

from __future__ import annotations

import logging
import threading

from ..errors import BudgetExceeded
from .chat import Usage
from .pricing import ModelPrice, cost_usd
from .tokens import TokenEstimate

logger = logging.getLogger(__name__)

PROMPT_MARGIN = 1.25
"""By how much a bill may exceed the estimate of a prompt before it breaks a reservation."""

_ROUNDING_USD = 1e-12


class Budget:
    """Money that may be spent. Threads may share one, and so may answerers.

    Args:
        max_cost_usd: never to be exceeded; None sets no limit.
        spent_usd: gone before, such as `RequestStore.totals().spent_usd`.
    """

    def __init__(self, max_cost_usd: float | None = None, spent_usd: float = 0.0):
        if max_cost_usd is not None and not max_cost_usd >= 0:
            raise ValueError(f"max_cost_usd must not be negative, got {max_cost_usd}")
        self.max_cost_usd = max_cost_usd
        self.spent_usd = spent_usd
        self.in_flight_usd = 0.0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Budget(max_cost_usd={self.max_cost_usd}, spent_usd={self.spent_usd})"

    @property
    def left_usd(self) -> float:
        """What can still be reserved."""
        if self.max_cost_usd is None:
            return float("inf")
        return self.max_cost_usd - self.spent_usd - self.in_flight_usd

    def reserve(self, usd: float) -> float:
        """Set money aside for something that is about to be sent. Returns it, for `settle`.

        Raises:
            BudgetExceeded: so much is not left. Nothing has been set aside.
        """
        with self._lock:
            if usd > self.left_usd + _ROUNDING_USD:
                raise BudgetExceeded(
                    f"the next request could cost ${usd:.6f}, and of ${self.max_cost_usd:.6f} are "
                    f"${self.spent_usd:.6f} spent and ${self.in_flight_usd:.6f} set aside for what is on its way"
                )
            self.in_flight_usd += usd
        return usd

    def settle(self, reserved_usd: float, actual_usd: float | None) -> None:
        """Replace a reservation by what was billed, or by itself where nobody knows (None)."""
        with self._lock:
            self.in_flight_usd = max(0.0, self.in_flight_usd - reserved_usd)
            self.spent_usd += reserved_usd if actual_usd is None else actual_usd


class CostCeiling:
    """The most that a request can cost: its estimated prompt with a margin, and an answer as long as it may be.

    Rules of servers can differ from those that are published, so bills that exceed the margin widen it.

    Args:
        price: of the model.
        batch: whether the batch service's discount applies.
        prompt_margin: factor on the estimated prompt, to begin with.
    """

    def __init__(self, price: ModelPrice, batch: bool = False, prompt_margin: float = PROMPT_MARGIN):
        self.price = price
        self.batch = batch
        self.prompt_margin = prompt_margin
        self.completion_margin = 1.0
        self.is_proven = not cost_usd(price, Usage(1, 1))  # by a bill; what costs nothing needs none

    def cost_usd(self, estimate: TokenEstimate) -> float:
        """The most that a request with this estimate can cost, in USD."""
        usage = Usage(
            prompt_tokens=round(estimate.prompt_tokens * self.prompt_margin),
            completion_tokens=round(estimate.max_completion_tokens * self.completion_margin),
        )
        return cost_usd(self.price, usage, self.batch)

    def learn(self, estimate: TokenEstimate, usage: Usage) -> None:
        """Take note of what was billed for a request with this estimate. What costs nothing teaches nothing."""
        if not cost_usd(self.price, usage):
            return
        self.is_proven = True
        prompt = usage.prompt_tokens / max(1, estimate.prompt_tokens)
        completion = usage.completion_tokens / max(1, estimate.max_completion_tokens)
        if prompt > self.prompt_margin:
            logger.warning(
                "billed %d prompt tokens where %d were estimated; reservations grow accordingly",
                *(usage.prompt_tokens, estimate.prompt_tokens),
            )
            self.prompt_margin = 1.05 * prompt
        if completion > self.completion_margin:
            logger.warning(
                "billed %d completion tokens where at most %d were asked for; reservations grow accordingly",
                *(usage.completion_tokens, estimate.max_completion_tokens),
            )
            self.completion_margin = 1.05 * completion
