"""What deleting is made of: the part of the composition root that only it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.deletion.desk import Deletions, Parts
from chalicelib.deletion.orders import Orders
from chalicelib.predictions.eraser import Eraser
from chalicelib.predictions.senders import Senders

if TYPE_CHECKING:
    from chalicelib.deletion.files import ImageFiles
    from chalicelib.wiring import Services


def assemble(services: Services) -> Deletions:
    """Return who deletes predictions."""
    has_database = services.has_database()
    table = services.predictions_table
    return Deletions(
        Parts(
            table=table,
            eraser=Eraser(services.uploads, services.store, table, services.now),
            senders=Senders(services.store),
            orders=Orders(services.store),
            database=services.database if has_database else None,
            image_files=_image_files(services) if has_database else None,
            publish=services.submissions.relabelling.publish
            if has_database
            else lambda samples: None,
            now=services.now,
        )
    )


def _image_files(services: Services) -> ImageFiles:
    from chalicelib.deletion.files import ImageFiles  # noqa: PLC0415 - loads the database's driver

    return ImageFiles(services.database, services.store, services.submissions.quarantine)
