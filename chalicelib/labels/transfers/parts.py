"""What imports and exports are made of: the part of the composition root that only they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chalicelib.labels.transfers.desk import TransferDesk
    from chalicelib.labels.transfers.senders import ImportSenders
    from chalicelib.labels.transfers.worker import TransferWorker
    from chalicelib.wiring import Services


def assemble_desk(services: Services) -> TransferDesk:
    """Return where imports and exports are asked for."""
    from chalicelib.labels.transfers.desk import FormTerms, TransferDesk  # noqa: PLC0415
    from chalicelib.labels.transfers.table import Transfers  # noqa: PLC0415 - each loads its own

    settings, stores = services.settings, (services.uploads, services.store)
    table, jobs = Transfers(services.database), services.queue(settings.jobs_queue)
    terms = FormTerms(settings.max_import_bytes, settings.import_expires_seconds)
    return TransferDesk(table, *stores, jobs, terms, services.now)


def assemble_worker(services: Services) -> TransferWorker:
    """Return who works on imports and exports."""
    from chalicelib.labels.transfers.importer import Buckets, Rules  # noqa: PLC0415
    from chalicelib.labels.transfers.taken import TakingRules  # noqa: PLC0415
    from chalicelib.labels.transfers.worker import worker_over  # noqa: PLC0415

    settings, store = services.settings, services.background_store
    buckets = Buckets(store(settings.uploads_bucket), store(settings.store_bucket))
    jobs, names = services.queue(settings.jobs_queue), services.pending_models.class_names
    rules = Rules(TakingRules(services.reviewing.assessor), services.import_senders)
    return worker_over(services.database, buckets, services.dataset, names, jobs, rules)


def assemble_senders(services: Services) -> ImportSenders:
    """Return who knows whose ZIPs are taken."""
    from chalicelib.labels.transfers.senders import ImportSenders  # noqa: PLC0415

    return ImportSenders(
        services.database,
        services.ledger,
        services.reviewing.assessor,
        lambda user: services.submissions.settle_user(user, publish=False),
        services.settings.appeal_to,
    )
