"""Second looks: what operators decide, and what contributors are asked to look at again."""
