"""A clean environment for every test: no real AWS account can be reached by accident."""

from __future__ import annotations

import os

os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_DEFAULT_REGION="eu-central-1",
    AWS_EC2_METADATA_DISABLED="true",
    POWERTOOLS_METRICS_NAMESPACE="Sightloop",
    POWERTOOLS_SERVICE_NAME="sightloop",
)
for name in [
    key for key in os.environ if key.startswith("SIGHTLOOP_") and key != "SIGHTLOOP_SHARED"
]:
    del os.environ[name]
for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
    os.environ.pop(name, None)
