"""The whole loop as one command, `make demo`: people, vandals, planner, training, gate."""
