"""What AWS calls by itself for trainings: the half hour, a trainer's report, SageMaker's event."""

from __future__ import annotations

from chalice.app import Blueprint, CloudWatchEvent, Rate, SQSEvent

from chalicelib import settings
from chalicelib.observability import bind_correlation_id, flushed, logger
from chalicelib.retrain.messages import parse_report
from chalicelib.retrain.plans import PLANS_MINUTES
from chalicelib.wiring import services

blueprint = Blueprint(__name__)
STATE_CHANGES = {
    "source": ["aws.sagemaker"],
    "detail-type": ["SageMaker Training Job State Change"],
}


@blueprint.schedule(Rate(PLANS_MINUTES, unit=Rate.MINUTES))
@flushed
def plan(event: CloudWatchEvent) -> dict[str, int]:
    """Make jobs of models that have earned a training, and have every job looked at."""
    bind_correlation_id(event.event_id)
    if not services().has_database():
        return {}
    training = services().training
    plans = training.planner.run()
    done = {"models": len(plans), "jobs": training.desk.drive()}
    logger.info("planned", extra=done)
    return done


@blueprint.on_sqs_message(queue=settings.load().training_queue, batch_size=1)
@flushed
def on_training_report(event: SQSEvent) -> None:
    """Bring the training on that a message is about."""
    for record in event:
        report = parse_report(record.body)
        bind_correlation_id(str(report.job_id))
        services().training.course.receive(report)


@blueprint.on_cw_event(STATE_CHANGES)
@flushed
def on_training_event(event: CloudWatchEvent) -> dict[str, int]:
    """Have the training looked at that SageMaker tells of; what is, is asked, not believed."""
    bind_correlation_id(event.event_id)
    if not services().has_database():
        return {}
    name = str(event.detail.get("TrainingJobName", ""))
    return {"jobs": services().training.desk.look_at(name)}
