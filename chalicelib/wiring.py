"""The composition root: what this process is made of, built on first use and kept while warm."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chalicelib import aws, settings
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore

if TYPE_CHECKING:
    from chalicelib.bot.parts import BotParts
    from chalicelib.catalog import Catalog, Publisher
    from chalicelib.catalog.pending import PendingModels
    from chalicelib.catalog.visibility_setting import VisibilitySetting
    from chalicelib.database import Database
    from chalicelib.deletion.desk import Deletions
    from chalicelib.idempotency import IdempotencyKeys
    from chalicelib.inference import Inference
    from chalicelib.labels.dataset import Dataset
    from chalicelib.labels.datasets.facts import DatasetFacts
    from chalicelib.labels.datasets.images import DatasetImages
    from chalicelib.labels.datasets.versions import DatasetVersions
    from chalicelib.labels.models import KnownModels
    from chalicelib.labels.sizes import DatasetSizes
    from chalicelib.labels.submissions import Submissions
    from chalicelib.labels.transfers.desk import TransferDesk
    from chalicelib.labels.transfers.senders import ImportSenders
    from chalicelib.labels.transfers.worker import TransferWorker
    from chalicelib.predictions import (
        Announcer,
        Intake,
        PredictionReader,
        PredictionTable,
        Reconciler,
        UploadDesk,
    )
    from chalicelib.predictions.keeper import Keeper
    from chalicelib.predictions.worker import Worker
    from chalicelib.queues import Queue
    from chalicelib.quotas import Quotas
    from chalicelib.retrain.parts import Training
    from chalicelib.review.parts import Reviewing
    from chalicelib.secrets import Secrets
    from chalicelib.trust.address_blocks import AddressBlocks
    from chalicelib.trust.announcements import BanFollowUp
    from chalicelib.trust.ledger import Ledger
    from chalicelib.trust.report_list import ReportList


class Services:
    """Every client and service of one process; each is made when it is first asked for.

    Parameters
    ----------
    settings : Settings
    clients : mapping of service name to boto3 client, optional
        Handed in by tests in place of those made for the region.
    now : callable, optional
        The clock.
    """

    def __init__(
        self,
        settings: Settings,
        clients: dict[str, Any] | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.settings = settings
        self.now = now or functools.partial(datetime.now, UTC)
        self._given = dict(clients or {})
        self._clients: dict[tuple[str, bool], Any] = {}
        self._queues: dict[str, Queue] = {}

    def client(self, service: str, *, before_a_call: bool = False) -> Any:
        """Return this process's boto3 client of one AWS service."""
        key, region = (service, before_a_call), self.settings.region
        if key not in self._clients:
            made = self._given.get(service)
            self._clients[key] = made or aws.client(service, region, before_a_call=before_a_call)
        return self._clients[key]

    def background_store(self, bucket: str) -> ObjectStore:
        """Return a bucket for work that has minutes: S3 may take long to join a large object."""
        s3 = self._given.get("s3") or aws.client("s3", self.settings.region, background=True)
        return ObjectStore(s3, bucket)

    @functools.cached_property
    def uploads(self) -> ObjectStore:
        """The bucket that strangers may write to."""
        return ObjectStore(self.client("s3"), self.settings.uploads_bucket)

    @functools.cached_property
    def store(self) -> ObjectStore:
        """The bucket of models, datasets and results."""
        return ObjectStore(self.client("s3"), self.settings.store_bucket)

    @functools.cached_property
    def secrets(self) -> Secrets:
        """What nobody but this service may know."""
        from chalicelib.secrets import Secrets

        name, ttl_seconds = self.settings.secret_name, self.settings.secret_ttl_seconds
        return Secrets(self.client("secretsmanager"), name, ttl_seconds)

    @functools.cached_property
    def quotas(self) -> Quotas:
        """How much each caller may ask for."""
        from chalicelib.quotas import Quotas

        return Quotas(self.client("dynamodb", before_a_call=True), self.settings, self.now)

    @functools.cached_property
    def idempotency_keys(self) -> IdempotencyKeys:
        """Answers that are repeated where a call is sent again."""
        from chalicelib.idempotency import IdempotencyKeys

        limits = self.client("dynamodb", before_a_call=True), self.settings.limits_table
        return IdempotencyKeys(*limits, self.now)

    @functools.cached_property
    def database(self) -> Database:
        """PostgreSQL; where the settings name none, the one that the secret names."""
        from chalicelib.database import Database

        return Database(self._database_url)

    def has_database(self) -> bool:
        """Tell whether a database is attached."""
        return bool(self._database_url())

    def _database_url(self) -> str:
        return self.settings.database_url or self.secrets.read().database_url

    @functools.cached_property
    def ledger(self) -> Ledger:
        """Who sent what, and who is banned."""
        from chalicelib.trust.ledger import Ledger

        return Ledger(self.database)

    @functools.cached_property
    def report_list(self) -> ReportList:
        """Who is banned, without asking the database."""
        from chalicelib.trust.report_list import ReportList

        return ReportList(self.store, self.settings.report_list_ttl_seconds)

    @functools.cached_property
    def address_blocks(self) -> AddressBlocks:
        """Where nobody writes without a token, for a banned token was used there."""
        from chalicelib.trust.address_blocks import AddressBlocks

        banned_since = lambda user: self.report_list.banned_since(user)  # noqa: E731, PLW0108
        return AddressBlocks(self.client("dynamodb"), self.settings, self.now, banned_since)

    @functools.cached_property
    def ban_follow_up(self) -> BanFollowUp:
        """What follows from a ban."""
        from chalicelib.trust.announcements import BanFollowUp
        from chalicelib.trust.report_list import ReportListWriter

        writer = ReportListWriter(self.store, self.ledger.bans)
        return BanFollowUp(self.ledger, writer, self.submissions.settle)

    @functools.cached_property
    def catalog(self) -> Catalog:
        """The models."""
        from chalicelib.catalog import Catalog

        return Catalog(self.store, self.settings.live_version_ttl_seconds)

    @functools.cached_property
    def publisher(self) -> Publisher:
        """Who makes versions serve, with the database where the settings have its address."""
        return self.publisher_over(self.database if self.settings.database_url else None)

    def publisher_over(self, database: Database | None) -> Publisher:
        """Return who makes versions serve and writes the rows into a database, if there is one."""
        from chalicelib.catalog import Publisher

        return Publisher(
            self.store, self.catalog, database, self.now, lambda _: self.dataset.follow_promotions()
        )

    @functools.cached_property
    def pending_models(self) -> PendingModels:
        """Models that were asked for and have no version yet."""
        from chalicelib.catalog.pending import PendingModels

        return PendingModels(self.database, self.store, self.catalog)

    @functools.cached_property
    def visibility(self) -> VisibilitySetting:
        """Who may be shown the photos of each model."""
        from chalicelib.catalog.visibility_setting import VisibilitySetting

        database = lambda: self.database if self.has_database() else None  # noqa: E731
        return VisibilitySetting(self.store, self.catalog, database, self.now)

    @functools.cached_property
    def dataset_sizes(self) -> DatasetSizes:
        """How many images each dataset has."""
        from chalicelib.labels.sizes import DatasetSizes

        return DatasetSizes(self.database)

    @functools.cached_property
    def dataset_facts(self) -> DatasetFacts:
        """What datasets are made of."""
        from chalicelib.labels.datasets.facts import DatasetFacts

        return DatasetFacts(self.database)

    @functools.cached_property
    def dataset_images(self) -> DatasetImages:
        """Datasets, image by image."""
        from chalicelib.labels.datasets.images import DatasetImages

        return DatasetImages(self.database)

    @functools.cached_property
    def dataset_versions(self) -> DatasetVersions:
        """Datasets as they were at one moment."""
        from chalicelib.labels.datasets.versions import DatasetVersions

        return DatasetVersions(self.database, self.store)

    @functools.cached_property
    def transfers(self) -> TransferDesk:
        """Where imports and exports are asked for."""
        from chalicelib.labels.transfers.parts import assemble_desk

        return assemble_desk(self)

    @functools.cached_property
    def transfer_worker(self) -> TransferWorker:
        """Who works on imports and exports."""
        from chalicelib.labels.transfers.parts import assemble_worker

        return assemble_worker(self)

    @functools.cached_property
    def import_senders(self) -> ImportSenders:
        """Who knows whose ZIPs are taken."""
        from chalicelib.labels.transfers.parts import assemble_senders

        return assemble_senders(self)

    @functools.cached_property
    def inference(self) -> Inference:
        """Who detects."""
        settings = self.settings
        kept = (self.catalog, settings.detector_cache_size, settings.inference_threads)
        if not settings.endpoint:
            from chalicelib.inference import Inference

            return Inference(*kept)
        from chalicelib.inference.endpoint import Endpoint, EndpointInference

        runtime = self.client("sagemaker-runtime")
        return EndpointInference(Endpoint(runtime, settings.endpoint), *kept)

    @functools.cached_property
    def predictions_table(self) -> PredictionTable:
        """The records of predictions."""
        from chalicelib.predictions import PredictionTable

        return PredictionTable(self.client("dynamodb"), self.settings.predictions_table, self.now)

    @functools.cached_property
    def predictions(self) -> PredictionReader:
        """Predictions, for those who know their ids."""
        from chalicelib.predictions import PredictionReader

        return PredictionReader(self.predictions_table, self.store, self.visibility.of)

    @functools.cached_property
    def intake(self) -> Intake:
        """How uploads come in."""
        from chalicelib.predictions import Intake

        identify = self.queue(self.settings.identify_queue)
        return Intake(self.uploads, self.predictions_table, identify, self.settings, self.now)

    @functools.cached_property
    def upload_desk(self) -> UploadDesk:
        """Who hands out upload forms."""
        from chalicelib.predictions import UploadDesk
        from chalicelib.predictions.senders import Senders

        stores = self.uploads, self.predictions_table, self.catalog
        return UploadDesk(*stores, self.settings, self.now, self.visibility.of, Senders(self.store))

    @functools.cached_property
    def keeper(self) -> Keeper:
        """Who keeps what a call was told."""
        from chalicelib.predictions.keeper import Keeper

        table, settings = self.predictions_table, self.settings
        return Keeper(self.store, table, settings, self.now, self.visibility.of)

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The images and labels of all models."""
        from chalicelib.labels.dataset import Dataset

        return Dataset(self.database, self.store, self.known_models.prefix)

    @functools.cached_property
    def known_models(self) -> KnownModels:
        """Classes and precision of models, those that are asked for included."""
        from chalicelib.labels.models import KnownModels

        return KnownModels(self.catalog, self.pending_models)

    @functools.cached_property
    def submissions(self) -> Submissions:
        """What people say is on an image."""
        from chalicelib.labels.parts import assemble

        return assemble(self)

    @functools.cached_property
    def announcer(self) -> Announcer:
        """Who sends the results messages."""
        from chalicelib.predictions import Announcer

        return Announcer(self.predictions_table, self.queue(self.settings.results_queue), self.now)

    @functools.cached_property
    def worker(self) -> Worker:
        """Who answers the messages on the identify queue."""
        from chalicelib.predictions.worker import Stores, Worker

        stores, table = Stores(self.uploads, self.store), self.predictions_table
        return Worker(stores, table, self.announcer, self.inference, self.settings, self.now)

    @functools.cached_property
    def reconciler(self) -> Reconciler:
        """Who drives again what was lost on the way to the worker."""
        from chalicelib.predictions import Queues, Reconciler

        identify, table = self.settings.identify_queue, self.predictions_table
        queues = Queues(self.queue(identify), self.queue(f"{identify}-dlq"))
        return Reconciler(self.uploads, table, queues, self.intake, self.announcer, self.now)

    @functools.cached_property
    def reviewing(self) -> Reviewing:
        """Who judges contributors, and what operators see of them."""
        from chalicelib.review.parts import Reviewing

        return Reviewing(self)

    @functools.cached_property
    def deletions(self) -> Deletions:
        """Who deletes what people sent."""
        from chalicelib.deletion.parts import assemble

        return assemble(self)

    @property
    def bot(self) -> BotParts:
        """The Telegram bot, by the token that the secret holds now."""
        from chalicelib.bot.parts import assemble

        return assemble(self, self.secrets.read().telegram)

    @functools.cached_property
    def training(self) -> Training:
        """What trains models."""
        from chalicelib.retrain.parts import Training

        return Training(self)

    def queue(self, name: str) -> Queue:
        """Return an SQS queue by its name, which knows its address from the first call on."""
        from chalicelib.queues import Queue

        if name not in self._queues:
            self._queues[name] = Queue(self.client("sqs"), name)
        return self._queues[name]


_provided: list[Services] = []


def services() -> Services:
    """Return the services of this process."""
    if not _provided:
        provide(Services(settings.load()))
    return _provided[0]


def provide(made: Services) -> None:
    """Make these the services of this process from now on."""
    _provided[:] = [made]
