"""What Prometheus wants to read: the state of every pair, asked for when it is scraped.

prometheus-client is an optional extra: only who asks for metrics needs it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from atomsync.errors import UsageError
from atomsync.follow.watching import PAUSED, RETRYING, STARTING, STOPPED, SYNCING, WATCHING, WatchStatus

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_LABELS = ("source", "destination")
_STATES = (STARTING, WATCHING, SYNCING, RETRYING, PAUSED, STOPPED)


class _Collector:
    """``prometheus_client.registry.Collector``, by shape."""

    def __init__(self, statuses: Callable[[], Sequence[WatchStatus]]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        found = self._statuses()
        counters: dict[str, tuple[str, Callable[[WatchStatus], float]]] = {
            "units": ("Units of work committed.", lambda each: each.units),
            "bytes": ("Bytes staged in committed units.", lambda each: each.bytes),
            "errors": ("Attempts that failed and are, or were, tried again.", lambda each: each.errors),
            "overflows": ("Event queues that overflowed.", lambda each: each.coverage.overflows),
            "reattached": ("Watchers replaced by new ones.", lambda each: each.coverage.reattached),
            "rescans": ("Looks at the whole source.", lambda each: each.coverage.rescans),
            "missed": (
                "Changes a rescan found and no event had announced.",
                lambda each: each.coverage.missed,
            ),
        }
        gauges: dict[str, tuple[str, Callable[[WatchStatus], float]]] = {
            "lag_seconds": ("Age of the oldest change that is not committed yet.", lambda each: each.lag_s),
            "queue": ("Hints that wait for a unit.", lambda each: each.queue),
            "held": ("Files that are still being written.", lambda each: len(each.held)),
            "set_aside": ("Paths set aside because they kept failing.", lambda each: len(each.set_aside)),
            "coverage_complete": (
                "1 if every directory is covered, else 0.",
                lambda each: each.coverage.complete,
            ),
            "directories": ("Directories covered.", lambda each: each.coverage.directories),
            "last_unit_timestamp_seconds": (
                "When the last unit was committed; 0: none yet.",
                lambda each: each.last_ns / 1e9,
            ),
        }
        for name, (text, value) in counters.items():
            counter = CounterMetricFamily(f"atomsync_{name}", text, labels=_LABELS)
            for each in found:
                counter.add_metric(_labels(each), value(each))
            yield counter
        for name, (text, value) in gauges.items():
            gauge = GaugeMetricFamily(f"atomsync_{name}", text, labels=_LABELS)
            for each in found:
                gauge.add_metric(_labels(each), value(each))
            yield gauge
        state = GaugeMetricFamily("atomsync_state", "1 for the state it is in.", labels=(*_LABELS, "state"))
        for each in found:
            for name in _STATES:
                state.add_metric([*_labels(each), name], name == each.state)
        yield state


@contextlib.contextmanager
def served(address: tuple[str, int], statuses: Callable[[], Sequence[WatchStatus]]) -> Iterator[str]:
    """Answer at ``http://HOST:PORT/metrics`` for the time of a ``with``; gives that address.

    Raises UsageError if the address cannot be used, or prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError:
        raise UsageError(
            "cannot serve metrics",
            "prometheus-client is not installed",
            "Install it: pip install 'atomsync[metrics]'",
        ) from None
    host, port = address
    registry = CollectorRegistry()
    registry.register(_Collector(statuses))
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"cannot serve metrics at {_url(host, port)}", why, "Choose another address: --metrics."
        ) from None
    try:
        yield _url(host, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"


def _labels(each: WatchStatus) -> list[str]:
    """Bytes that are not UTF-8 as numbers: the exposition format has no place for them."""
    return [os.fsencode(path).decode("utf-8", "backslashreplace") for path in (each.source, each.destination)]
