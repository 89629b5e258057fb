"""Measurements beside peers; each module says how to run it."""
