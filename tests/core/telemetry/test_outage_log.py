import logging

import pytest

from audifi.core.telemetry.outage_log import OutageLog


def test_outage_has_a_line_at_each_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = OutageLog(logging.getLogger("task"), begins="it fails: error=%s", ends="it works again")

    log.record_success()
    for _ in range(2):
        for cause in ("first", "second", "third"):
            log.record_failure(cause)
        log.record_success()
        log.record_success()

    assert caplog.messages == ["it fails: error=first", "it works again"] * 2
