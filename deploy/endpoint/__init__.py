"""The stage's own real-time endpoint on SageMaker, which detects in the functions' place.

Its server follows the store's `models/*/model.yaml` by itself, so what goes live reaches it without
a deployment: `docs/adr/0009-endpoint-follows-store.md` says why.
"""

from deploy.endpoint.course import ensure, remove
from deploy.endpoint.parts import config, ensure_role, model, role
from deploy.endpoint.strays import tell_of_move

__all__ = ["config", "ensure", "ensure_role", "model", "remove", "role", "tell_of_move"]
