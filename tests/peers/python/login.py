"""An asyncssh client that only logs in, with keys, a password and answers to questions.

Settings: port, server_key (.pub), user, client_keys, password; a question is answered by itself.
"""

import asyncssh

from common import options, run, say, settings


class Client(asyncssh.SSHClient):
    """Answers what it is asked."""

    def kbdint_auth_requested(self):
        return ""

    def kbdint_challenge_received(self, name, instructions, lang, prompts):
        return [("visible " if echo else "hidden ") + prompt for prompt, echo in prompts]


async def main():
    try:
        connection = await asyncssh.connect(
            "127.0.0.1",
            settings["port"],
            client_factory=Client,
            username=settings["user"],
            password=settings["password"],
            client_keys=settings["client_keys"],
            agent_path=None,
            known_hosts=([settings["server_key"]], [], []),
            **options(),
        )
        say("ready")
        connection.close()
    except asyncssh.PermissionDenied:
        say("refused")


run(main)
