"""An SMTP relay: aiosmtpd takes the mail, this file says what becomes of it.

Prints its port, then every message it took and every recipient it refused, one JSON object a line. Who is called
`later` is greylisted at first (450), `full` is refused for good (550); everybody logs in as `calls` with `secret`.
"""

import asyncio
import email
import email.policy
import json
import warnings

from aiosmtpd.smtp import SMTP, AuthResult


def say(event):
    print(json.dumps(event), flush=True)


class Handler:
    def __init__(self):
        self.greylisted = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        name = address.split("@")[0]
        if name == "later" and address not in self.greylisted:
            self.greylisted.add(address)
            say({"refused": address, "status": 450})
            return "450 4.2.0 greylisted, try again later"
        if name == "full":
            say({"refused": address, "status": 550})
            return "550 5.2.2 mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        text = message.get_body(("plain",))
        say(
            {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "headers": {name.lower(): str(value) for name, value in message.items()},
                "text": text.get_content(),
                "attachments": {part.get_filename(): part.get_content().decode() for part in message.iter_attachments()},
                "user": session.auth_data and session.auth_data.login.decode(),
            }
        )
        return "250 OK: queued"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (b"calls", b"secret")
    return AuthResult(success=good, auth_data=data, handled=False)


async def main():
    handler = Handler()

    def session():
        return SMTP(
            handler,
            hostname="relay.example",
            authenticator=authenticate,
            auth_required=True,
            auth_require_tls=False,
        )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    say({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


# The server says at each session that logging in without TLS is unwise; here both ends are this machine.
warnings.simplefilter("ignore")
asyncio.run(main())
