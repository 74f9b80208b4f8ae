"""What Prometheus reads: over real HTTP, parsed by its own parser."""

from __future__ import annotations

import contextlib
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from atomsync.daemon.metrics import served
from atomsync.errors import UsageError
from atomsync.follow.watching import Coverage, WatchStatus

LOOPBACK = ("127.0.0.1", 0)
COVERAGE = Coverage(False, "events", 5_000, ("d: too many",), 3.0, 2, 4, 6, 8)
STATUS = WatchStatus(
    "retrying",
    "no space",
    "/src",
    '/d"s\\t\n\udcff',
    123,
    1_700_000_000_000_000_000,
    COVERAGE,
    7,
    1_000_000,
    "20261121-090403-542",
    1_700_000_001_500_000_000,
    0.25,
    11,
    ("a", "b"),
    {"c": "why"},
    9,
    "no space",
    2.0,
)
QUIET = STATUS._replace(state="watching", source="/other", coverage=COVERAGE._replace(complete=True), units=0)


def scrape(url: str) -> dict[tuple[str, str, str], float]:
    """``(name, source, state)`` → value."""
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(url, timeout=20) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels["source"], sample.labels.get("state", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_pair_is_shown_as_it_stands() -> None:
    with served(LOOPBACK, lambda: [STATUS, QUIET]) as url:
        found = scrape(url)
    expected = {
        "units_total": 7,
        "bytes_total": 1_000_000,
        "errors_total": 9,
        "overflows_total": 2,
        "reattached_total": 4,
        "rescans_total": 6,
        "missed_total": 8,
        "lag_seconds": 0.25,
        "queue": 11,
        "held": 2,
        "set_aside": 1,
        "coverage_complete": 0,
        "directories": 5_000,
        "last_unit_timestamp_seconds": 1_700_000_001.5,
    }
    assert {name: found[f"atomsync_{name}", "/src", ""] for name in expected} == expected
    assert len({name for name, _, _ in found}) == len(expected) + 1
    states = {
        state: value
        for (name, source, state), value in found.items()
        if name == "atomsync_state" and source == "/src"
    }
    assert [state for state, value in states.items() if value] == ["retrying"]
    assert len(states) == 6
    assert found["atomsync_units_total", "/other", ""] == 0
    assert found["atomsync_coverage_complete", "/other", ""] == 1


def test_it_is_asked_anew_at_every_scrape() -> None:
    current = [STATUS]
    with served(LOOPBACK, lambda: current) as url:
        assert scrape(url)["atomsync_units_total", "/src", ""] == 7
        current[0] = STATUS._replace(units=8)
        assert scrape(url)["atomsync_units_total", "/src", ""] == 8


def test_the_address_is_free_again_afterwards() -> None:
    with served(LOOPBACK, list) as url:
        host, port = url.removeprefix("http://").removesuffix("/metrics").split(":")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=20)
    with served((host, int(port)), list):
        pass


@contextlib.contextmanager
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(LOOPBACK)
        other.listen()
        yield other.getsockname()[1]


def test_an_address_that_is_taken_is_told() -> None:
    with (
        taken() as port,
        pytest.raises(UsageError, match=f"127.0.0.1:{port}/metrics: Address already in use"),
        served(("127.0.0.1", port), list),
    ):
        pass


def test_a_host_that_does_not_exist_is_told() -> None:
    with pytest.raises(UsageError, match="cannot serve metrics"), served(("no.such.invalid", 0), list):
        pass


def test_without_prometheus_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError) as caught, served(LOOPBACK, list):
        pass
    assert "pip install 'atomsync[metrics]'" in str(caught.value)


def test_the_page_about_it_names_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs" / "watch.md").read_text()
    with served(LOOPBACK, lambda: [STATUS]) as url:
        names = {name.removeprefix("atomsync_") for name, _, _ in scrape(url)}
    assert [name for name in names if name not in page] == []
