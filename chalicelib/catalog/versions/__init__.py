"""The versions of a model as callers see them: what each was worth, which served when."""
