"""Guidance on a grid from a vision-language model: prompts, requests, answers."""
