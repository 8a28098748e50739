"""Answering questions about videos by a Video-LLM: a server that is shown frames as pictures, or a local model.

`asking` prepares what a question shows and says, `journal` keeps what was answered, `server` and `local` answer, and
`run` goes from a table of questions to a table of predictions.
"""
