"""Changing who may be shown a model's photos."""
