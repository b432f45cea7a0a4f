"""Retraining: deciding what has earned it, having it trained, letting only the better serve.

The planner makes jobs of models (`planner.py`), a launcher has each trained somewhere
(`launchers/`), the trainer reports (`messages.py`), and the gate decides (`gate.py`).
"""
