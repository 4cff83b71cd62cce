"""An asyncssh server on a free loopback port that forwards ports both ways.

Settings: host_key, host_key_algorithm, user, password, authorized_key, and those of common.options().
"""

import asyncssh

from common import options, run, say, settings


class Server(asyncssh.SSHServer):
    """Admits one user, by key or by password, and forwards whatever that user asks for."""

    def connection_lost(self, exc):
        say("session_closed", message=str(exc or ""))

    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return bool(settings.get("password"))

    def validate_password(self, username, password):
        return username == settings["user"] and password == settings["password"]

    def connection_requested(self, dest_host, dest_port, orig_host, orig_port):
        return True

    def server_requested(self, listen_host, listen_port):
        return True


async def main():
    (host_key,) = asyncssh.load_keypairs([settings["host_key"]])
    if settings.get("host_key_algorithm"):
        # An RSA key offers every RSA signature; the test wants exactly one.
        host_key.host_key_algorithms = (settings["host_key_algorithm"].encode(),)
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[host_key],
        authorized_client_keys=settings.get("authorized_key"),
        **options(),
    )
    say("listening", port=acceptor.get_port())
    await acceptor.wait_closed()


run(main)
