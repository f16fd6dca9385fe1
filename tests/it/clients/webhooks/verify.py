"""Checks messages, one JSON object a line, with the reference library. Usage: verify.py FILE"""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

count = 0
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        message = json.loads(line)
        webhook = Webhook(message["secret"])
        webhook.verify(message["body"], message["headers"])
        for wrong in (
            (message["body"] + " ", message["headers"]),
            (message["body"], message["headers"] | {"webhook-id": "evt_other"}),
        ):
            try:
                webhook.verify(*wrong)
            except WebhookVerificationError:
                continue
            sys.exit("a message that was changed is accepted")
        count += 1
print(f"accepted {count}")
