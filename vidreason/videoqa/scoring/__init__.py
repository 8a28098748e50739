"""Scoring of answers: what a reply says, what it is worth, and reports of many."""
