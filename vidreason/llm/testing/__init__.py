"""A local chat-completions server that answers, and fails, as real ones do."""
