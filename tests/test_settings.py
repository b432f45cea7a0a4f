"""Settings: read once, typed, and loud about what is wrong."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from chalicelib.errors import ConfigurationError
from chalicelib.settings import Settings


def test_defaults_describe_the_local_stage() -> None:
    settings = Settings.from_environment({})

    assert settings.stage == "local"
    assert settings.store_bucket == "sightloop-local-store"


def test_variables_are_read_and_typed() -> None:
    settings = Settings.from_environment(
        {"SIGHTLOOP_MAX_PIXELS": "5000", "SIGHTLOOP_STAGE": "prod", "HOME": "/root"}
    )

    assert settings.max_pixels == 5000
    assert settings.stage == "prod"


def test_every_bad_variable_is_named() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.from_environment(
            {"SIGHTLOOP_MAX_PIXELS": "many", "SIGHTLOOP_LIVE_VERSION_TTL_SECONDS": "99"}
        )

    assert "SIGHTLOOP_MAX_PIXELS" in raised.value.detail
    assert "SIGHTLOOP_LIVE_VERSION_TTL_SECONDS" in raised.value.detail


def test_settings_cannot_be_changed() -> None:
    settings = Settings.from_environment({})

    with pytest.raises(ValidationError):
        settings.stage = "prod"  # type: ignore[misc]
