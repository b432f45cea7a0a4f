"""What submissions are made of: the part of the composition root that only they need."""

from __future__ import annotations

from random import SystemRandom
from typing import TYPE_CHECKING

from chalicelib.labels.reference import References
from chalicelib.labels.relabelling import Relabelling
from chalicelib.labels.settling import Settling
from chalicelib.labels.submissions import Parts, Submissions

if TYPE_CHECKING:
    from chalicelib.inference import Answer
    from chalicelib.wiring import Services


def assemble(services: Services) -> Submissions:
    """Return what takes submissions."""
    every, settings = services, services.settings
    assessor, chance = every.reviewing.assessor, SystemRandom()
    relabelling = Relabelling(every.database, every.store, every.known_models, every.dataset)
    stores = every.database, every.ledger, every.dataset
    parts = Parts(
        predictions=every.predictions,
        models=every.known_models,
        store=every.store,
        ledger=every.ledger,
        dataset=every.dataset,
        assessor=assessor,
        settling=Settling(*stores, relabelling, assessor, chance),
        appeal=settings.appeal_to,
        rejected_days=settings.prediction_ttl_days,
        references=References(lambda model, image: _detect(services, model, image)),
        chance=chance,
    )
    return Submissions(every.database, parts)


def _detect(services: Services, model: str, image: bytes) -> Answer:
    """Detect at the service's own options; loads the model only when it is called."""
    from chalicelib.inference.options import Options  # noqa: PLC0415 - few submissions need it

    options = Options().for_detector(services.settings.max_pixels)
    return services.inference.detect(model, image, options)
