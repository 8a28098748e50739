"""The synthetic world of single actions."""
