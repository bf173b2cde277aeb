"""What is said over a channel is heard, however the one who said it ended."""

from berth.engine.channel import Channel


def test_what_was_said_is_heard_though_its_sender_left_something_unread() -> None:
    ours, theirs = Channel.pair()
    ours.send({"order": True})
    theirs.send({"error": "no"})
    theirs.close()

    assert ours.receive() == ({"error": "no"}, [])
    assert ours.receive() == (None, [])
    ours.close()
