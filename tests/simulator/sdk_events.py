"""The vendor's own SDK receives the simulator's events over the long connection.

usage: sdk_events.py BASE_URL APP_ID APP_SECRET COUNT, where COUNT different events are to come
"""

import os
import sys
import threading
import time

import lark_oapi as lark

TYPES = [
    "vc.meeting.all_meeting_started_v1",
    "vc.meeting.all_meeting_ended_v1",
    "vc.room.updated_v1",
    "vc.room.deleted_v1",
    "vc.room_level.deleted_v1",
]


def main():
    base, app_id, app_secret, count = sys.argv[1:]
    seen = set()

    def take(event):
        seen.add(event.header.event_id)

    builder = lark.EventDispatcherHandler.builder("", "")
    for event_type in TYPES:
        builder = builder.register_p2_customized_event(event_type, take)
    client = lark.ws.Client(app_id, app_secret, event_handler=builder.build(), domain=base)

    def watch():
        end = time.monotonic() + 60
        while len(seen) < int(count) and time.monotonic() < end:
            time.sleep(0.05)
        # The last answer is still on its way.
        time.sleep(0.5)
        print(f"{len(seen)} of {count} events came")
        sys.stdout.flush()
        os._exit(0 if len(seen) == int(count) else 1)

    threading.Thread(target=watch, daemon=True).start()
    client.start()


main()
