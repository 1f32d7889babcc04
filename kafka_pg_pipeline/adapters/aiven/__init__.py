"""Aiven's API over HTTPS: which services a project has, and how to reach them."""
