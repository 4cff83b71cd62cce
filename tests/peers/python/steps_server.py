"""An asyncssh server that wants several steps, in the order that the user's name says: `first+password+second+prompts`.

Settings: host_key, password, keys: the public key file of each step that is a key.
"""

import asyncssh

from common import options, run, say, settings


class Server(asyncssh.SSHServer):
    """Takes one step after the other, and lists the method of the next one alone."""

    def connection_made(self, conn):
        self.left = []
        # asyncssh has no partial success of its own, but all that it takes.
        succeed = conn.send_userauth_success

        async def step():
            self.left.pop(0)
            if self.left:
                conn.send_userauth_failure(True)
            else:
                await succeed()

        conn.send_userauth_success = step

    def begin_auth(self, username):
        self.left = username.split("+")
        return True

    def public_key_auth_supported(self):
        return self.left[:1] != [] and self.left[0] in settings["keys"]

    def validate_public_key(self, username, key):
        return key == asyncssh.read_public_key(settings["keys"][self.left[0]])

    def password_auth_supported(self):
        return self.left[:1] == ["password"]

    def validate_password(self, username, password):
        return password == settings["password"]

    def kbdint_auth_supported(self):
        return self.left[:1] == ["prompts"]

    def get_kbdint_challenge(self, username, lang, submethods):
        return "", "", "", [("Code: ", False)]

    def validate_kbdint_response(self, username, responses):
        return list(responses) == ["42"]


async def main():
    (host_key,) = asyncssh.load_keypairs([settings["host_key"]])
    acceptor = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Server, server_host_keys=[host_key], **options()
    )
    say("listening", port=acceptor.get_port())
    await acceptor.wait_closed()


run(main)
