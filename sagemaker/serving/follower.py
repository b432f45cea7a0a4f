"""Keeps the detectors of a serving process at the versions that serve, asked or not."""

from __future__ import annotations

import threading

from chalicelib.catalog import Catalog
from chalicelib.errors import SightloopError
from chalicelib.inference import Inference
from chalicelib.observability import logger

LOOK_SECONDS = 5.0


class Follower:
    """Looks every few seconds which versions serve, and has new ones loaded before they are asked.

    Parameters
    ----------
    inference : Inference
    catalog : Catalog
    most : int
        How many models are loaded at the start, those first by name; later ones when asked for.
    pause : float
        Seconds between two looks. The catalog's own time to live comes on top.
    """

    def __init__(
        self, inference: Inference, catalog: Catalog, most: int, pause: float = LOOK_SECONDS
    ) -> None:
        self._inference = inference
        self._catalog = catalog
        self._most = most
        self._pause = pause
        self._ready = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    @property
    def is_ready(self) -> bool:
        """Whether the store answered, and each model was loaded that can be."""
        return self._ready.is_set()

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; one that is under way is waited for."""
        self._stopped.set()
        self._thread.join()

    def look(self) -> None:
        """Bring the detectors that are warm up to date; at first, load those of live models."""
        try:
            models = self._inference.warm() or [
                file.name for file in self._catalog.live()[: self._most]
            ]
        except SightloopError:
            logger.warning("the store does not tell which models serve", exc_info=True)
            return
        for model in models:
            try:
                self._inference.prove(model)
            except SightloopError:
                logger.warning("this model cannot detect", exc_info=True, model=model)
        self._ready.set()

    def _follow(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(self._pause)
