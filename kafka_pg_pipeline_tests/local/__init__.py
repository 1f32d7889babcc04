"""Tests of the local stack, on real servers."""
