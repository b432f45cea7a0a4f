"""Imports: check all of a ZIP, then place all of it at once, then publish it.

While an archive is checked each image goes to a place of its own in the store, which is no part of
any dataset, and what was found of it is kept beside it. So the ZIP is read once. Only when nothing
is wrong do all images get their rows, in one transaction; their files follow from the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from chalicelib.catalog.visibility import Visibility
from chalicelib.database import Database
from chalicelib.errors import Conflict, InvalidArchive, ObjectNotFound
from chalicelib.labels.archive import Archive, ArchiveImage
from chalicelib.labels.archive_directory import Fault, Kind, Limits
from chalicelib.labels.dataset import Added, Dataset, NewLabel
from chalicelib.labels.split import shot_in
from chalicelib.labels.transfers.checked import Checked, CheckedImages, extension_of
from chalicelib.labels.transfers.ranged import RangedObject
from chalicelib.labels.transfers.records import State, Transfer, staged
from chalicelib.labels.transfers.senders import ImportSenders
from chalicelib.labels.transfers.table import Transfers
from chalicelib.labels.transfers.taken import MOST_NAMES, Taken, TakingRules
from chalicelib.labels.words import shown
from chalicelib.storage import ObjectStore

SLICE_IMAGES = 200
SLICE_SECONDS = 45.0
AT_ONCE = 8  # images on their way to the store
PUBLISHED_AT_ONCE = 250
MEDIA = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "bmp": "image/bmp"}
LEFT = """
SELECT sample_id FROM labels JOIN samples USING (sample_id) WHERE import_id = %s AND NOT published
ORDER BY tried_at NULLS FIRST, sample_id
"""

ClassNamesOf = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True)
class Buckets:
    """The bucket that ZIPs come into, and the one that images go to."""

    uploads: ObjectStore
    store: ObjectStore


@dataclass(frozen=True)
class Rules:
    """What the labels of a ZIP may overwrite, and whose ZIPs are taken."""

    taking: TakingRules
    senders: ImportSenders


class Importer:
    """Brings images and labels of a ZIP into a dataset, a slice at a time.

    Parameters
    ----------
    table : Transfers
    database : Database
    buckets : Buckets
    dataset : Dataset
    class_names_of : callable
        From a model's name to its classes.
    rules : Rules
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(
        self,
        table: Transfers,
        database: Database,
        buckets: Buckets,
        dataset: Dataset,
        class_names_of: ClassNamesOf,
        rules: Rules,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table, self._database, self._dataset = table, database, dataset
        self._buckets, self._class_names_of = buckets, class_names_of
        self._taking, self._senders = rules.taking, rules.senders
        self._limits = Limits()
        self._clock = clock
        self._opened: tuple[str, Archive] | None = None

    def step(self, held: Transfer) -> Transfer:
        """Do the next slice of an import that is held, and return how far it is then.

        Raises
        ------
        LostLease
            Somebody else has it by now.
        ModelNotFound, ObjectNotFound, Conflict
            It cannot be finished: the model or the ZIP is gone.
        Banned, Forbidden
            Its sender's ZIPs are not taken any more, and it is not placed yet.
        StorageUnavailable, DatabaseUnavailable
            It can, later.
        """
        steps = {
            State.CHECKING: self._check,
            State.PLACING: self._place,
            State.PUBLISHING: self._publish,
        }
        return steps[held.state](held)

    # ---- checking

    def _check(self, held: Transfer) -> Transfer:
        self._senders.check(held.user)
        try:
            archive = self._open(held)
        except InvalidArchive as fault:
            return self._refuse(held, [Fault("", Kind.NOT_A_ZIP, fault.detail)])
        if held.total is None:
            return self._begin(held, archive)
        if held.done < held.total:
            return self._check_slice(held, archive)
        return self._conclude(held)

    def _open(self, held: Transfer) -> Archive:
        """Open the ZIP, or take the one that is open from the slice before."""
        if self._opened is None or self._opened[0] != held.transfer_id:
            assert held.key
            assert held.etag
            try:
                uploads, version = self._buckets.uploads, held.object_version or ""
                size = uploads.size(held.key, version)
                file = RangedObject(uploads, held.key, held.etag, size, version=version)
                names = self._class_names_of(held.model)
                kind = held.asked.get("format")
                archive = Archive(cast("IO[bytes]", file), names, self._limits, kind)
            except ObjectNotFound as error:
                raise ObjectNotFound("the ZIP is gone: it is kept for a day") from error
            except Conflict as error:
                raise Conflict("another file was sent in the place of the ZIP") from error
            self._opened = held.transfer_id, archive
        return self._opened[1]

    def _begin(self, held: Transfer, archive: Archive) -> Transfer:
        report = archive.directory.to_json()
        found = {
            "format": archive.kind,
            "images": 0,
            "boxes": 0,
            "slices": [],
            "faults": report["faults"],
            "unlisted": report["unlisted"],
        }
        return self._table.save(held, total=len(archive), found=found)

    def _check_slice(self, held: Transfer, archive: Archive) -> Transfer:
        until = self._clock() + SLICE_SECONDS
        sound = not held.found["faults"]
        checked: list[Checked] = []
        faults: list[Fault] = []
        count = images = boxes = 0
        with _staging(self._buckets.store, held.transfer_id) as stage:
            for image, wrong in archive.each(held.done, held.done + SLICE_IMAGES):
                count, faults = count + 1, faults + wrong
                images += image is not None
                boxes += len(image.detections) if image else 0
                if image and sound and not faults:
                    checked.append(_checked(image))
                    stage(checked[-1], image.content)
                if self._clock() > until:
                    break
        self._images(held).keep(held.done, checked)
        found = self._with_faults(held, faults)
        found["images"] += images
        found["boxes"] += boxes
        found["slices"] = [*found["slices"], held.done]
        return self._table.save(held, done=held.done + count, found=found)

    def _conclude(self, held: Transfer) -> Transfer:
        """Say what became of the check, once all of the archive was read."""
        self._opened = None
        if held.found["faults"]:
            return self._refuse(held, [])
        if not held.total:
            return self._refuse(held, [Fault("", Kind.NO_IMAGE, "there is no image in it")])
        images, faults = self._different(held)
        if faults:
            return self._refuse(held, faults)
        return self._table.save(held, state=State.PLACING, done=0, total=len(images))

    def _refuse(self, held: Transfer, faults: list[Fault]) -> Transfer:
        found = {"images": 0, "boxes": 0, "faults": [], "unlisted": 0, **held.found}
        held = self._table.save(held, found=found)
        return self._table.save(held, state=State.FAULTY, found=self._with_faults(held, faults))

    def _with_faults(self, held: Transfer, faults: list[Fault]) -> dict[str, Any]:
        """Return what was found with more faults: so many are listed, all are counted."""
        listed = [*held.found["faults"], *(fault.to_json() for fault in faults)]
        most = self._limits.faults
        unlisted = held.found["unlisted"] + max(0, len(listed) - most)
        return {**held.found, "faults": listed[:most], "unlisted": unlisted}

    # ---- placing

    def _place(self, held: Transfer) -> Transfer:
        """Write all rows, and that they are written, or nothing."""
        images, _ = self._different(held)
        labels = {image.sha256: self._label(held, image) for image in images}
        self._dataset.look(held.model, list(labels.values()))
        model, user = held.model, held.user
        with self._database.transaction() as rows:
            held = self._table.save_in(rows, held, state=State.PUBLISHING)  # none but us goes on
            reserved = self._taking.hold_in(rows, user, model, images)
            self._dataset.lock(rows, model)
            self._senders.check_in(rows, user)
            taken = self._taking.taken_in(rows, user, model, images, reserved)
            added = self._dataset.add(rows, model, [labels[each.sha256] for each in taken.images])
            found = {**held.found, "placed": _counts(added, taken)}
            return self._table.save_in(rows, held, found=found)

    def _different(self, held: Transfer) -> tuple[list[Checked], list[Fault]]:
        """Return each image once; name those that come again with other labels."""
        first: dict[str, Checked] = {}
        faults = []
        for image in self._images(held).read(held.found["slices"]):
            known = first.setdefault(image.sha256, image)
            if known.detections.to_yolo() != image.detections.to_yolo():
                detail = f"the image is that of {shown(known.name)!r}"
                faults.append(Fault(shown(image.name), Kind.CONTRADICTION, detail))
        return list(first.values()), faults

    def _label(self, held: Transfer, image: Checked) -> NewLabel:
        by_name = held.asked.get("groups_from_names")
        return NewLabel(
            sha256=image.sha256,
            extension=image.extension,
            size=image.detections.image_size,
            fingerprint=image.fingerprint,
            source_key=_staged_image(held.transfer_id, image),
            group=shot_in(image.name) if by_name else None,
            boxes=image.detections,
            origin="import",
            user_address=held.user,
            request_id=None,
            import_id=held.transfer_id,
            visibility=Visibility.parse(held.asked.get("visibility")),
            released_by=held.asked.get("released_by"),
        )

    def _images(self, held: Transfer) -> CheckedImages:
        names = self._class_names_of(held.model)
        return CheckedImages(self._buckets.store, held.transfer_id, names)

    # ---- publishing

    def _publish(self, held: Transfer) -> Transfer:
        """Let the files follow the rows; it is over when none of ours is missing."""
        self._senders.follow_ban(held.user)
        left = self._unpublished(held)
        self._dataset.publish_samples(left[:PUBLISHED_AT_ONCE])
        left = self._unpublished(held)
        done = (held.total or 0) - len(left)
        if left and done <= held.done:
            return held  # somebody else is at the same, or files cannot be made
        return self._table.save(held, done=done, state=held.state if left else State.DONE)

    def _unpublished(self, held: Transfer) -> list[int]:
        with self._database.transaction() as rows:
            rows.execute(LEFT, (held.transfer_id,))
            return [sample_id for (sample_id,) in rows.fetchall()]


def _checked(image: ArchiveImage) -> Checked:
    extension = extension_of(image.content)
    return Checked(image.name, image.sha256, extension, image.fingerprint, image.detections)


def _staged_image(import_id: str, image: Checked) -> str:
    return staged(import_id, f"images/{image.sha256}.{image.extension}")


@contextmanager
def _staging(store: ObjectStore, import_id: str) -> Iterator[Callable[[Checked, bytes], None]]:
    """Give what puts an image into the store beside the others; all are there at the end."""
    under_way: set[Future[None]] = set()
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def stage(image: Checked, content: bytes) -> None:
            nonlocal under_way
            if len(under_way) >= AT_ONCE:  # no more are held than are on their way
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for each in done:
                    each.result()
            key, media = _staged_image(import_id, image), MEDIA[image.extension]
            under_way.add(pool.submit(store.put, key, content, media))

        yield stage
        for each in under_way:
            each.result()


def _counts(added: list[Added], taken: Taken) -> dict[str, Any]:
    """Return how many images are for what, and what the dataset had and kept as it was."""
    return {
        "training": sum(each.side == "train" for each in added),
        "validation": sum(each.side == "valid" for each in added),
        "known": sum(each.reason == "known" for each in added),
        "confirmed": len(taken.confirmed),
        "not_taken": len(taken.refused),
        "not_taken_names": [shown(each.name) for each in taken.refused[:MOST_NAMES]],
    }
