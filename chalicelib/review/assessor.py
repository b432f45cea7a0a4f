"""What is known of a contributor, when they send an answer: the `Assessor` of submissions."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.grading import agreement, grade
from chalicelib.trust.opinions import Opinions
from chalicelib.trust.task_book import Task, TaskBook


@dataclass(frozen=True)
class Assessment:
    """What a submission has to know of its contributor.

    Attributes
    ----------
    is_control : bool
        The image's boxes are settled: the answer never becomes a label.
    distrust : str | None
        Why it has to wait for a person, in words for that person; None: it does not.
    """

    is_control: bool
    distrust: str | None


class Assessor:
    """Grades answers to control tasks, compares answers on the same image, and knows whom to doubt.

    Safe to repeat: the same answer again leaves what it left.

    Parameters
    ----------
    book : TaskBook
    opinions : Opinions
    """

    def __init__(self, book: TaskBook, opinions: Opinions) -> None:
        self._book = book
        self._opinions = opinions

    def assess(
        self, user_address: str, model: str, prediction_id: str, submitted: ClassedBoxes
    ) -> Assessment:
        """Take note of an answer that is about to be recorded.

        Parameters
        ----------
        submitted : ClassedBoxes
            In pixels of the upright original.

        Raises
        ------
        DatabaseUnavailable
        """
        task = self._book.find(prediction_id)
        asked = task is not None and task.user_address == user_address
        if task and task.settled is not None:
            if asked:
                self._book.grade(task, grade(submitted, task.settled))
        else:
            self._compare(user_address, model, prediction_id, task, submitted)
        is_control = task is not None and task.is_control
        return Assessment(is_control, self._book.standing(user_address).distrust)

    def _compare(
        self,
        user_address: str,
        model: str,
        prediction_id: str,
        task: Task | None,
        submitted: ClassedBoxes,
    ) -> None:
        """Compare with what others said of the image, as far as one of the two was asked."""
        asked = task is not None and task.user_address == user_address
        if task:
            image: str | None = task.image_sha256
        else:
            image = self._opinions.image_of(prediction_id, user_address)
        if image is None:
            return
        others = self._opinions.of_others(user_address, model, image)
        peers = {
            other.user_address: agreement(submitted, other.boxes)
            for other in others
            if asked or other.asked
        }
        self._book.agree(user_address, model, image, peers)
        if task and asked:
            self._book.answered(task)
