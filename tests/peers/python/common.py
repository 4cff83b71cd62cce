"""What the asyncssh client and server scripts share: settings, events, options, end of life.

A script gets its settings as one JSON object in argv[1], tells the harness what happens as JSON lines on
stdout, and ends when its stdin does, so that it cannot outlive the test that started it.
"""

import asyncio
import json
import os
import sys
import traceback

settings = json.loads(sys.argv[1])


def say(event, **fields):
    """Prints one event for the harness."""
    print(json.dumps({"event": event, **fields}), flush=True)


def options():
    """The asyncssh options that mean the same to a client and a server."""
    chosen = {"config": None, "compression_algs": None}
    for setting, option in (("kex", "kex_algs"), ("ciphers", "encryption_algs"), ("macs", "mac_algs")):
        if settings.get(setting):
            chosen[option] = settings[setting].split(",")
    if settings.get("rekey_bytes"):
        chosen["rekey_bytes"] = settings["rekey_bytes"]
    return chosen


async def stdin_closed():
    """Returns when the harness closes our stdin."""
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


def run(main):
    """Runs `main` until it fails or stdin ends."""

    async def both():
        ends = asyncio.ensure_future(stdin_closed())
        work = asyncio.ensure_future(main())
        await asyncio.wait([ends, work], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
            await ends

    try:
        asyncio.run(both())
        code = 0
    except BaseException as error:
        traceback.print_exc()
        say("error", message=f"{type(error).__name__}: {error}")
        code = 1
    # The executor thread may still be inside its read; do not wait for it.
    sys.stdout.flush()
    os._exit(code)
