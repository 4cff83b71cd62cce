"""An asyncssh server with every way to log in that is not a plain key or password.

Settings: host_key, user, password, client_host_key, first_key. It shows a banner, asks two rounds of questions, wants an expired
password changed, and takes the word of a host for its user. It says what it heard of hosts. With first_key, that key is the first of two steps, and the questions are the second.
"""

import asyncssh

from common import options, run, say, settings


class Server(asyncssh.SSHServer):
    """Admits one user."""

    def connection_made(self, conn):
        self.conn = conn
        self.round = 0
        self.key_due = bool(settings.get("first_key"))
        if self.key_due:
            # asyncssh has no partial success of its own, but all that it takes.
            succeed = conn.send_userauth_success

            async def step():
                if self.key_due:
                    self.key_due = False
                    conn.send_userauth_failure(True)
                else:
                    await succeed()

            conn.send_userauth_success = step

    def begin_auth(self, username):
        self.conn.send_auth_banner("Authorised use only\r\n\x1b[2Jand more\n")
        return True

    def auth_completed(self):
        say("authenticated")

    def public_key_auth_supported(self):
        return self.key_due

    def validate_public_key(self, username, key):
        return key == asyncssh.read_public_key(settings["first_key"])

    def password_auth_supported(self):
        return not settings.get("first_key")

    def validate_password(self, username, password):
        if password == "expired":
            raise asyncssh.PasswordChangeRequired("Choose a new one")
        return False

    def change_password(self, username, old_password, new_password):
        return old_password == "expired" and new_password == settings["password"]

    def kbdint_auth_supported(self):
        return not self.key_due

    def get_kbdint_challenge(self, username, lang, submethods):
        return "First", "Two rounds\nfollow", "", [("User: ", True), ("PIN: ", False)]

    def validate_kbdint_response(self, username, responses):
        self.round += 1
        if self.round == 1 and list(responses) == [settings["user"], "1234"]:
            return "", "", "", [("Code: ", False)]
        return self.round == 2 and list(responses) == ["42"]

    def host_based_auth_supported(self):
        return not settings.get("first_key")

    def validate_host_based_user(self, username, client_host, client_username):
        say("host", name=client_host, user=client_username)
        return client_username == "local"


async def main():
    (host_key,) = asyncssh.load_keypairs([settings["host_key"]])
    client_host = asyncssh.read_public_key(settings["client_host_key"])
    hosts = asyncssh.import_known_hosts("laptop.example " + client_host.export_public_key().decode())
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[host_key],
        known_client_hosts=hosts,
        trust_client_host=True,
        **options(),
    )
    say("listening", port=acceptor.get_port())
    await acceptor.wait_closed()


run(main)
