"""An asyncssh client that logs in and forwards the ports it is told to.

Settings: port, server_key (.pub), host_key_algorithm, user, password or client_key, local and remote (a target
port on 127.0.0.1 each), and those of common.options().
"""

import asyncssh

from common import options, run, say, settings


async def main():
    chosen = options()
    if settings.get("host_key_algorithm"):
        chosen["server_host_key_algs"] = [settings["host_key_algorithm"]]
    connection = await asyncssh.connect(
        "127.0.0.1",
        settings["port"],
        username=settings["user"],
        password=settings.get("password"),
        client_keys=[settings["client_key"]] if settings.get("client_key") else None,
        agent_path=None,
        known_hosts=([settings["server_key"]], [], []),
        **chosen,
    )
    ready = {
        "cipher": connection.get_extra_info("send_cipher"),
        "mac": connection.get_extra_info("send_mac"),
    }
    if settings.get("local"):
        listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", settings["local"])
        ready["local_port"] = listener.get_port()
    if settings.get("remote"):
        listener = await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", settings["remote"])
        ready["remote_port"] = listener.get_port()
    say("ready", **ready)
    await connection.wait_closed()
    say("closed")


run(main)
