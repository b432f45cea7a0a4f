"""Sightloop's Chalice app: what the Lambdas run. Assembles; decides nothing."""

from __future__ import annotations

from chalicelib.bot import routes as bot
from chalicelib.bot import triggers as bot_triggers
from chalicelib.catalog import routes as catalog
from chalicelib.catalog.versions import routes as versions
from chalicelib.catalog.visibilities import routes as visibilities
from chalicelib.deletion import routes as deletion
from chalicelib.inference import routes as inference
from chalicelib.labels import routes as labels
from chalicelib.labels.datasets import routes as datasets
from chalicelib.labels.transfers import routes as transfers
from chalicelib.labels.transfers import triggers as transfer_triggers
from chalicelib.predictions import routes as predictions
from chalicelib.predictions import triggers
from chalicelib.retrain import routes as retrain
from chalicelib.retrain import triggers as retrain_triggers
from chalicelib.retrain.comparing import routes as comparing
from chalicelib.review import routes as review
from chalicelib.trust import routes as trust
from chalicelib.trust import triggers as trust_triggers
from chalicelib.web import middleware, routes

app = middleware.App("sightloop")
app.register_middleware(middleware.surround_all, "all")
app.register_middleware(middleware.surround_http, "http")

for api in (
    catalog.api,
    versions.api,
    visibilities.api,
    inference.api,
    predictions.api,
    deletion.api,
    labels.api,
    datasets.api,
    retrain.api,
    comparing.api,
    review.api,
    transfers.api,
    trust.api,
    bot.api,
    routes.api,
):
    app.register_blueprint(api.blueprint)
    routes.documented.extend(api.operations)
app.register_blueprint(triggers.blueprint)
app.register_blueprint(trust_triggers.blueprint)
app.register_blueprint(transfer_triggers.blueprint)
app.register_blueprint(bot_triggers.blueprint)
app.register_blueprint(retrain_triggers.blueprint)
