"""Judges of answers: a language model on either of the published scales, or rules and sentence embeddings."""
