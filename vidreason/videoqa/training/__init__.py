"""Training of Video-LLMs on questions about videos, with a loss of named parts: answers, and the steps to them."""
