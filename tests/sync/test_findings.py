"""What facts mean: judged without a disk."""

from __future__ import annotations

from atomsync.errors import AccessError
from atomsync.fs.capabilities import Capabilities
from atomsync.fs.disk import Space
from atomsync.fs.features import Features
from atomsync.fs.folding import FULL, SIMPLE, Folding
from atomsync.fs.mounts import Mount
from atomsync.sync.doctor import Destination, Facts, Kept, Origin, Tried
from atomsync.sync.findings import FAIL, LIMIT, NOTE, OK, Finding, findings, verdict
from atomsync.sync.survey import Survey, some
from atomsync.watch.limits import Limits

BEST = Tried(
    Capabilities(exchange=True, rename_new=True, link=True, syncfs=True),
    Features(True, True, True, True, True, True, True, True, fsync_s=0.002, syncfs_s=0.004),
    Folding(),
)
ROOMY = Space(4096, 10**12, 10**6, 255, False)
DST = Destination("dst", True, Mount(1, "/srv", 7, "xfs", "/"), 7, ROOMY, BEST, Kept(), (), None)
SRC = Origin("src", Mount(1, "/srv", 7, "xfs", "/"), 7, Survey(9, 20, 1, 3000), {}, ())
FACTS = Facts("Linux", "6.1.0-13-amd64", DST, SRC, Limits(1000, 128, 16384))


def judged(facts: Facts) -> dict[str, Finding]:
    found = findings(facts)
    assert len({finding.name for finding in found}) == len(found)
    return {finding.name: finding for finding in found}


def on(**able: bool) -> Facts:
    return FACTS._replace(destination=DST._replace(tried=BEST._replace(able=BEST.able._replace(**able))))


def test_the_best_filesystem_has_nothing_to_remark() -> None:
    found = findings(FACTS)
    assert {finding.level for finding in found} == {OK}
    assert not any(finding.hint for finding in found)
    assert verdict(found) == "a push works here, with the full guarantee"


def test_a_limit_is_counted_in_the_verdict_and_says_what_to_do_or_what_it_costs() -> None:
    found = findings(on(exchange=False))
    (limit,) = [finding for finding in found if finding.level == LIMIT]
    assert (limit.name, limit.value) == ("exchange", "link+replace")
    assert verdict(found) == "a push works here, but for 1 limit: exchange"
    assert judged(on(exchange=False, link=False))["exchange"].value == "replace"
    assert judged(on(syncfs=False))["syncfs"].level == NOTE


def test_an_old_kernel_and_another_system_are_limits() -> None:
    assert judged(FACTS._replace(release="5.4.0"))["kernel"].level == LIMIT
    assert judged(FACTS._replace(release="5.8"))["kernel"].level == OK
    assert judged(FACTS._replace(system="Darwin", release="23.1.0"))["kernel"].level == LIMIT


def test_watches_that_do_not_suffice_name_the_setting_that_would() -> None:
    def watch(directories: int) -> Finding:
        survey = SRC.survey._replace(directories=directories - 1)  # and the root
        return judged(FACTS._replace(origin=SRC._replace(survey=survey)))["watch"]

    assert watch(500).level == OK
    assert watch(501).level == NOTE
    assert watch(1000).level == NOTE
    too_many = watch(1001)
    assert too_many.level == LIMIT
    assert "fs.inotify.max_user_watches=2002" in too_many.hint


def test_names_that_collapse_are_told_with_what_is_ignored() -> None:
    def names(folding: Folding) -> str:
        return judged(FACTS._replace(destination=DST._replace(tried=BEST._replace(folding=folding))))[
            "names"
        ].text

    assert "the case of letters;" in names(Folding(SIMPLE))
    assert "ß" in names(Folding(FULL, form=True))
    assert "the Unicode form" in names(Folding(FULL, form=True))
    assert "'.' at the end" in names(Folding(trailing="."))


def test_of_many_paths_the_first_are_named_and_the_rest_counted() -> None:
    survey = SRC.survey._replace(unreadable=some([f"p\n{number}" for number in range(12)]))
    found = judged(FACTS._replace(origin=SRC._replace(survey=survey)))["unreadable"]
    assert found.text.startswith("12 paths (p\\n0, ")
    assert found.text.endswith("p\\n9 and 2 more) may not be read")


def test_a_slow_disk_and_a_full_one_are_worth_a_note() -> None:
    slow = BEST._replace(features=BEST.features._replace(fsync_s=0.08))
    assert judged(FACTS._replace(destination=DST._replace(tried=slow)))["sync-cost"].level == NOTE
    for space in (ROOMY._replace(bytes_free=10**6), ROOMY._replace(inodes_free=500)):
        assert judged(FACTS._replace(destination=DST._replace(space=space)))["space"].level == NOTE
    tight = ROOMY._replace(inodes_free=20)
    assert judged(FACTS._replace(destination=DST._replace(space=tight)))["space"].level == LIMIT


def test_what_a_push_would_end_with_is_the_verdict() -> None:
    fault = AccessError("cannot make anything in dst", "Permission denied", "Check it.")
    found = findings(FACTS._replace(destination=DST._replace(tried=None, fault=fault)))
    (fail,) = [finding for finding in found if finding.level == FAIL]
    assert fail.hint == "Check it."
    assert verdict(found) == "a push cannot work here: cannot make anything in dst: Permission denied"
