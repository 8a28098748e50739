"""Builders, annotators and publishers for the command line; each file is a script too."""
