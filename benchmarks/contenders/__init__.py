"""Everybody who loads a topic into a table, or does a part of it."""
