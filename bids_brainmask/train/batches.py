# SPDX-License-Identifier: Apache-2.0
"""Batches for Keras, made by threads of this process or by other processes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import keras
import numpy as np

from bids_brainmask.errors import WorkerError
from bids_brainmask.train import processes, samples
from bids_brainmask.train.samples import BlockSampler, Sampler

AHEAD = 3
"""Batches that each process makes ahead of the training."""


class Batches(keras.utils.PyDataset):
    """Batches of a sampler: (N, I, J, K, 1) images and labels.

    Parameters
    ----------
    sampler : Sampler or BlockSampler
    processes : int
        Processes that make samples; 0: two threads of this process.
    """

    def __init__(self, sampler: Sampler | BlockSampler, processes: int = 0):
        threads = {"workers": 2, "max_queue_size": 6} if not processes else {}
        super().__init__(**threads)
        self.sampler, self.processes, self.epoch = sampler, processes, 0
        self.pool: ProcessPoolExecutor | None = None
        self.waiting: dict[tuple[int, int], Future] = {}

    def __len__(self) -> int:
        if isinstance(self.sampler, BlockSampler):
            return self.sampler.count()
        return self.sampler.stage.steps

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if self.pool is None:
            return self.sampler.batch(self.epoch, number)
        for ahead in range(number, min(number + AHEAD * self.processes, len(self))):
            if (key := (self.epoch, ahead)) not in self.waiting:
                self.waiting[key] = self.pool.submit(samples.make, *key)
        try:
            images, labels = processes.take(self.waiting.pop((self.epoch, number)).result())
        except BrokenProcessPool as error:
            raise WorkerError(
                f"A process that makes samples ended unexpectedly (epoch {self.epoch + 1}, batch "
                f"{number + 1}). Memory may have run out: give fewer --workers. The same command "
                "resumes from the last checkpoint."
            ) from error
        return images, labels

    def on_epoch_end(self) -> None:
        """Change to the batches of the next epoch; Keras calls this."""
        self.epoch += not self.sampler.still

    @contextmanager
    def running(self) -> Iterator[Batches]:
        """Run the processes while the context lasts."""
        if not self.processes:
            yield self
            return
        try:
            with (
                processes.memory() as folder,
                processes.pool(
                    self.processes, samples.hold, (self.sampler, folder), folder
                ) as self.pool,
            ):
                yield self
        finally:
            self.pool, self.waiting = None, {}
