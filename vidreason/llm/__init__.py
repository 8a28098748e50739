"""Asking language models: requests, answers, a cache, a ledger and a budget. It knows nothing of videos or guidance."""
