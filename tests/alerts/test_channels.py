"""Each channel against a real receiver on loopback: an HTTP server, a mail server, the log, a topic of the real broker."""

import datetime as dt
import json
import logging
import re
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rta
from rta.alerts import Alert, Log, Mail, Notice, Topic, View, Watch, Webhook
from rta.alerts.channels import as_channels
from rta.errors import InputError, RtaError
from rta.kafka import tail
from rta.metrics import Observation
from tests.support.receivers import http_receiver, mail_receiver
from tests.support.waiting import until

NOON = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
ALERT = Alert(
    "lag", "totals", "firing", "critical", "2 min behind, 12,000 records, and growing", NOON, NOON
)
FIRES = Notice(ALERT, "there", NOON)
OVER = Notice(replace(ALERT, state="resolved", ended_at=NOON + dt.timedelta(minutes=5)), "there", NOON + dt.timedelta(minutes=5))  # fmt: skip


def test_the_webhook_is_in_the_form_of_alertmanager() -> None:
    """Firing, then resolved: the same fingerprint, endsAt only at the end, our headers; and no secret in a repr or an error."""
    with http_receiver() as receiver:
        hook = Webhook(receiver.url, headers={"Authorization": "Bearer planted-bearer"})
        hook.say(FIRES)
        hook.say(OVER)
        receiver.refusals, receiver.status = 1, 500
        with pytest.raises(RtaError, match="does not take an alert; found: 500") as refused:
            hook.say(FIRES)
        receiver.refusals, receiver.status, receiver.location = 1, 307, "http://127.0.0.1:1/"
        with pytest.raises(RtaError, match="307"):  # it goes nowhere else
            hook.say(FIRES)
    (headers, fires), (_, over) = receiver.got
    assert headers["Authorization"] == "Bearer planted-bearer"
    assert headers["Content-Type"] == "application/json"
    assert (fires["version"], fires["status"], over["status"]) == ("4", "firing", "resolved")
    [alert], [ended] = fires["alerts"], over["alerts"]
    assert alert["labels"] == {"alertname": "lag", "severity": "critical", "subject": "totals"}
    assert alert["annotations"]["description"] == ALERT.says
    assert alert["startsAt"] == "2026-11-26T12:00:00Z"
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"
    assert ended["endsAt"] == "2026-11-26T12:05:00Z"
    assert alert["fingerprint"] == ended["fingerprint"]
    for shown in (repr(hook), hook.name, str(refused.value)):
        assert "planted" not in shown
    with pytest.raises(RtaError, match=r"refused|does not take"):
        hook.say(FIRES)  # nobody is there any more


def test_a_webhook_that_answers_nothing_is_given_up() -> None:
    """A receiver that accepts and is silent holds its channel for the timeout only."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hook = Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.2)
        with pytest.raises(RtaError, match="timed out"):
            hook.say(FIRES)


@pytest.mark.parametrize(
    "url", ["ftp://host/", "file:///etc/passwd", "host/path", "http://user:planted@host/"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """Other schemes, none, or a password in it, which is not shown."""
    with pytest.raises(InputError) as refused:
        Webhook(url)
    assert "planted" not in str(refused.value)


def test_a_mail_is_one_thread_and_cannot_be_forged() -> None:
    """Subject, sentence, times; the same Message-ID if it is sent again; a newline in what is said adds no header."""
    with mail_receiver() as receiver:
        mail = Mail("night@shift.example", sender="rta@here.example", host="127.0.0.1", port=receiver.port, security="none")  # fmt: skip
        mail.say(FIRES)
        mail.say(FIRES)
        mail.say(OVER)
        evil = replace(ALERT, subject="a\r\nBcc: thief@there.example", says="🙂 ü\n.\nQUIT")
        mail.say(Notice(evil, "mail", NOON))
        with pytest.raises(RtaError, match="does not take an alert"):
            Mail("nobody@shift.example", sender="rta@here.example", host="127.0.0.1", port=receiver.port, security="none").say(FIRES)  # fmt: skip
    one, again, over, evil_mail = receiver.got
    assert one["Subject"] == "[CRITICAL] lag totals: 2 min behind, 12,000 records, and growing"
    assert over["Subject"].startswith("[RESOLVED] lag totals")
    assert one["Message-ID"] == again["Message-ID"] != over["Message-ID"]
    assert one["References"] == over["References"]
    assert (one["From"], one["To"]) == ("rta@here.example", "night@shift.example")
    assert "since     2026-11-26 12:00:00 UTC" in one.get_content()
    assert "resolved  2026-11-26 12:05:00 UTC" in over.get_content()
    assert evil_mail["Bcc"] is None
    assert "🙂 ü" in evil_mail.get_content()


def test_a_password_of_the_mail_server_is_used_and_never_shown() -> None:
    """It logs in; a wrong one is an error without it; over a network it is refused unencrypted."""
    with mail_receiver(users=True) as receiver:
        how: dict[str, Any] = {"sender": "rta@here.example", "host": "127.0.0.1", "port": receiver.port, "security": "none", "user": "ops"}  # fmt: skip
        mail = Mail(["a@b.example", "c@d.example"], password="planted-password", **how)  # noqa: S106 - planted
        mail.say(FIRES)
        wrong = Mail("a@b.example", password="planted-wrong", **how)  # noqa: S106
        with pytest.raises(RtaError, match="SMTPAuthenticationError") as refused:
            wrong.say(FIRES)
    assert set(receiver.users) == {"ops"}
    assert receiver.got[0]["To"] == "a@b.example, c@d.example"
    for shown in (repr(mail), repr(vars(mail)), str(refused.value)):
        assert "planted" not in shown
    with pytest.raises(InputError, match="must not go over a network unencrypted"):
        Mail(
            "a@b.example",
            sender="a@b.example",
            host="mail.example",
            security="none",
            user="ops",
            password="x",  # noqa: S106
        )
    with pytest.raises(InputError, match="no mail address"):
        Mail("nobody", sender="a@b.example", host="127.0.0.1")
    with pytest.raises(InputError, match="no security"):
        Mail("a@b.example", sender="a@b.example", host="127.0.0.1", security="ssl")  # type: ignore[arg-type]


def test_starttls_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail goes encrypted; to a server whose certificate is not trusted it does not go, and neither does the password."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mail", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", certificate, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    with mail_receiver(users=True, tls=tls) as receiver:
        mail = Mail("a@b.example", sender="rta@here.example", host="127.0.0.1", port=receiver.port, user="ops", password="planted-password")  # noqa: S106 # fmt: skip
        with pytest.raises(RtaError, match="certificate verify failed"):
            mail.say(FIRES)
        assert receiver.users == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        mail.say(FIRES)
    assert [each["To"] for each in receiver.got] == ["a@b.example"]


def test_the_log_has_a_line_by_severity(caplog: pytest.LogCaptureFixture) -> None:
    """An error, then an info; a newline of an event begins no line of its own."""
    caplog.set_level(logging.INFO, "rta.alerts")
    Log().say(FIRES)
    Log().say(OVER)
    Log().say(Notice(replace(ALERT, says="a\nFAKE \x1b[31m"), "log", NOON))
    assert [each.levelno for each in caplog.records] == [logging.ERROR, logging.INFO, logging.ERROR]
    assert caplog.messages[0] == "[CRITICAL] lag totals: 2 min behind, 12,000 records, and growing"
    assert caplog.messages[2] == "[CRITICAL] lag totals: a FAKE [31m"


@pytest.mark.kafka
def test_a_topic_has_each_notice_as_json_by_the_alert_s_id(topic: Callable[..., str]) -> None:
    """It is made with one partition if it is not there; key and fields are those of the alert."""
    name = f"{topic()}-alerts"
    channel = Topic(name)
    channel.say(FIRES)
    channel.say(OVER)
    records = list(tail.records(name))
    assert {each.key for each in records} == {ALERT.id}
    fires, over = (json.loads(each.value or "") for each in records)
    assert (fires["state"], over["state"], fires["subject"]) == ("firing", "resolved", "totals")
    assert fires["starts_at"] == "2026-11-26T12:00:00+00:00"
    assert over["ended_at"] == "2026-11-26T12:05:00+00:00"
    assert re.fullmatch("[0-9a-f]{16}-firing-[0-9]+", fires["id"])


def test_a_live_view_gets_a_mark() -> None:
    """Of a real view of a function: that it fires, and that it is resolved, each at its moment."""
    view = rta.live(lambda: [{"n": 1}])
    View(view).say(FIRES)
    View(view).say(OVER)
    said = [(FIRES, "critical: lag totals"), (OVER, "resolved: lag totals")]
    assert view.snapshot().marks == tuple({"at": notice.made_at.timestamp() * 1000, "label": label} for notice, label in said)  # fmt: skip
    with pytest.raises(InputError, match="no live view"):
        View(7)


def test_what_is_no_channel_is_refused() -> None:
    """A number, a class, twice the same name."""
    for wrong in (7, Log):
        with pytest.raises(InputError, match="this is no channel"):
            as_channels([wrong])
    with pytest.raises(InputError, match="two channels have one name"):
        as_channels([Log(), Log()])


def test_f49_a_channel_that_fails_is_said_by_the_others_and_gets_all_later(home: object) -> None:
    """Its receiver refuses three times: the other channel is not held up, and in the end both have firing and resolved, in order."""
    said: list[Notice] = []
    rule = rta.alerts.dead_letters()
    with http_receiver() as receiver:
        receiver.refusals = 2
        with Watch([rule], [said.append, Webhook(receiver.url)], every=5, name="refused") as watching:  # fmt: skip
            courier = watching._couriers[Webhook(receiver.url).name]
            seen = Observation(NOON, {"kafka": True}, dead_letters={"clicks": 1})
            watching.take(seen)
            until(lambda: courier.trouble)
            for second in (1, 31, 32):
                watching.take(replace(seen, at=NOON + dt.timedelta(seconds=second)))
            assert "503" in next(each for each in watching.alerts if each.rule == "channel fails").says  # fmt: skip
            watching.take(replace(seen, at=NOON + dt.timedelta(seconds=40), dead_letters={}))
            until(lambda: len(receiver.got) >= 2)
            until(lambda: courier.trouble is None)
            watching.take(replace(seen, at=NOON + dt.timedelta(seconds=50), dead_letters={}))
    told = [(each.alert.rule, each.alert.state) for each in said]
    assert told == [("dead letters", "firing"), ("channel fails", "firing"), ("dead letters", "resolved"), ("channel fails", "resolved")]  # fmt: skip
    there = [(body["alerts"][0]["labels"]["alertname"], body["status"]) for _, body in receiver.got]
    assert there == told
