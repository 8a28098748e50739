"""The Gradio Space. On the Hub this folder is the root of a repository, and `app.py` its script."""
