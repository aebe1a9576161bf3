"""Experiments: configurations, running them, the demo, training, reports.

pydantic is needed to read a configuration; training from settings in hand does without it.
"""
