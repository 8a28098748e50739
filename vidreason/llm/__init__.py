"""Asking language models. This room knows nothing of videos, guidance or systems.

`chat` says what a request, an answer and an answerer are. `online` answers one request at a time and `batch` by batch
jobs, both over `client` (any OpenAI-compatible server), `store` (cache, ledger and jobs in one file) and `cost`
(tokens, prices, budget). `retry` says what failures mean, and `json_text` reads the JSON in what a model says.
"""

from .chat import DEFAULT_MODEL, Answerer, ChatAnswer, ChatRequest, Question, Usage, image_part
from .client import ChatClient, OpenAIChatClient
from .cost import FREE, Budget, ModelPrice, cost_usd, estimate_tokens, price_of
from .online import OnlineAnswerer
from .store import RequestStore

__all__ = [
    "DEFAULT_MODEL",
    "FREE",
    "Answerer",
    "Budget",
    "ChatAnswer",
    "ChatClient",
    "ChatRequest",
    "ModelPrice",
    "OnlineAnswerer",
    "OpenAIChatClient",
    "Question",
    "RequestStore",
    "Usage",
    "cost_usd",
    "estimate_tokens",
    "image_part",
    "price_of",
]
