"""The history as it is told: what the lines of its file say about one container, or the device."""

from berth.web.history import Moment, Use, points
from berth.web.models import HistoryPoint


def test_the_processors_part_is_that_of_the_time_between_two_moments() -> None:
    moments = [
        Moment(0.0, Use(10.0, 500), {"one": Use(0.0, 100)}),
        Moment(300.0, Use(160.0, 600), {"one": Use(30.0, 200)}),
    ]

    assert list(points(moments, "one")) == [
        HistoryPoint(at=0.0, cpu=None, memory=100),
        HistoryPoint(at=300.0, cpu=10.0, memory=200),
    ]
    assert list(points(moments, ""))[1] == HistoryPoint(at=300.0, cpu=50.0, memory=600)


def test_a_container_that_did_not_run_has_a_gap_and_a_restart_no_negative_use() -> None:
    runs = [Use(50.0, 1), None, Use(1.0, 1), Use(0.5, 1), Use(3.5, 1)]
    moments = [
        Moment(300.0 * number, Use(0.0, 0), {} if use is None else {"one": use}) for number, use in enumerate(runs)
    ]

    told = list(points(moments, "one"))

    assert [point.memory for point in told] == [1, None, 1, 1, 1]
    assert [point.cpu for point in told] == [None, None, None, None, 1.0]
