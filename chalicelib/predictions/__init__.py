"""Uploads: a file in the uploads bucket becomes a message, a detection, a record and a reply."""

from __future__ import annotations

from chalicelib.inference.options import Options
from chalicelib.predictions.announce import Announcer
from chalicelib.predictions.intake import Intake
from chalicelib.predictions.messages import IdentifyMessage, ResultMessage
from chalicelib.predictions.model import Prediction, Problem, State
from chalicelib.predictions.offers import Upload, UploadDesk, UploadTicket
from chalicelib.predictions.reader import PredictionReader, PredictionView
from chalicelib.predictions.reconcile import Queues, Reconciler
from chalicelib.predictions.table import PredictionTable

__all__ = [
    "Announcer",
    "IdentifyMessage",
    "Intake",
    "Options",
    "Prediction",
    "PredictionReader",
    "PredictionTable",
    "PredictionView",
    "Problem",
    "Queues",
    "Reconciler",
    "ResultMessage",
    "State",
    "Upload",
    "UploadDesk",
    "UploadTicket",
]
