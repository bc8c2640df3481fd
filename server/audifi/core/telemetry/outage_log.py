"""Logs a failure that repeats: a line when it begins, and a line when it ends."""

import logging


class OutageLog:
    """The state of one task that fails again and again during an outage."""

    def __init__(self, logger: logging.Logger, *, begins: str, ends: str) -> None:
        """
        Args:
            logger: of the task's module.
            begins: the warning, with a %s for the cause.
            ends: the line when the task works again.
        """
        self._logger = logger
        self._begins = begins
        self._ends = ends
        self._is_failing = False

    def record_failure(self, cause: object) -> None:
        if not self._is_failing:
            self._logger.warning(self._begins, cause)
        self._is_failing = True

    def record_success(self) -> None:
        if self._is_failing:
            self._logger.info(self._ends)
        self._is_failing = False
