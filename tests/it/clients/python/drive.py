"""Drives a real call through the client that openapi-python-client made of the server's own document.

Usage: drive.py BASE_URL API_KEY DESTINATION TRUNK. Prints one JSON object about the call at the end.
"""

import json
import sys
import time

from trunkline_client import AuthenticatedClient
from trunkline_client.api.calls import create_call, get_call, get_transcript, list_calls
from trunkline_client.api.control import end_call, say
from trunkline_client.models import CreateCall, EndCall, Say

base, key, destination, trunk = sys.argv[1:5]
LIMIT_SECONDS = 30

with AuthenticatedClient(base_url=base, token=key, raise_on_unexpected_status=True) as client:

    def reaches(call_id, wanted):
        """The call, once it is as wanted."""
        give_up = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < give_up:
            call = get_call.sync(call_id, client=client)
            if wanted(call):
                return call
            time.sleep(0.05)
        raise SystemExit(f"the call stands still: {call.status}")

    made = create_call.sync(
        client=client,
        body=CreateCall(to_number=destination, trunk_id=trunk, agent_id="demo"),
    )
    reaches(made.id, lambda call: call.status == "in_progress")
    said = say.sync(made.id, client=client, body=Say(content="Hello from Python."))
    assert said.success, said
    spoken = lambda: [
        turn.content for turn in get_transcript.sync(made.id, client=client).turns
    ]
    give_up = time.monotonic() + LIMIT_SECONDS
    while "Hello from Python." not in spoken() and time.monotonic() < give_up:
        time.sleep(0.05)
    assert end_call.sync(made.id, client=client, body=EndCall()).success
    over = reaches(made.id, lambda call: call.ended_at is not None)
    listed = [row.id for row in list_calls.sync(client=client).items]
    print(
        json.dumps(
            {
                "id": over.id,
                "status": over.status,
                "end_reason": over.end_reason,
                "turns": spoken(),
                "listed": over.id in listed,
            }
        )
    )
