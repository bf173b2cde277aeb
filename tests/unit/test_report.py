"""What is taken out of a report before somebody shows it to others."""

import pytest

from berth.web.report import redacted

NAMES = {"web": "container-1", "web-db": "container-2"}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("listening on 192.168.1.20:80", "listening on ADDRESS:80"),
        ("from fe80::1ff:fe23:4567:890a", "from ADDRESS"),
        ("at 12:34:56 from 02:00:5e:10:00:01 and ::1", "at 12:34:56 from ADDRESS and ADDRESS"),
        ("token 0123456789abcdef0123456789abcdef", "token SECRET"),
        ("opened /data/local/my/file.img", "opened PATH"),
        ("web-db waits for web, not for webmail", "container-2 waits for container-1, not for webmail"),
        ("\x1b[31mred\x1b[0m\x07", "red"),
        ("kernel 6.1.75-android14 aarch64", "kernel 6.1.75-android14 aarch64"),
    ],
)
def test_a_report_leaves_out_what_is_nobodys_business(line: str, shown: str) -> None:
    assert redacted(line, NAMES) == shown
