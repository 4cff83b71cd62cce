// The interop driver on the Dev Tunnels library: the command line and the markers of the Rust one.
//
//   interop-peer.js <server|client> <port> <kex> <pk> <enc> <mac> [mode] [extra]
//
// It ends with 0 when the last marker of the mode was printed, with 2 when the library cannot do what is asked for
// (`ERROR: unsupported: ...`), otherwise with 1. With SSH_TRACE in its environment the library's trace goes to stderr.
'use strict';

const { parse, Unsupported } = require('./interop-peer/arguments');
const { serve } = require('./interop-peer/server');
const { connect } = require('./interop-peer/client');

// Whoever read this is gone, and so is the test: the words of that would be the next error.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => process.exit(1));
// The library lets some socket errors (a reset, for one) escape; a peer of a test must survive them.
process.on('uncaughtException', (error) => process.stderr.write(`uncaught: ${error.stack}\n`));
process.on('unhandledRejection', (error) => process.stderr.write(`unhandled: ${error && error.stack}\n`));

async function main() {
  const asked = parse(process.argv.slice(2));
  await (asked.side === 'server' ? serve(asked) : connect(asked));
}

main().then(
  () => process.exit(0),
  (error) => {
    const unsupported = error instanceof Unsupported;
    process.stderr.write(`ERROR: ${unsupported ? 'unsupported: ' : ''}${(error && error.message) || error}\n`);
    process.exit(unsupported ? 2 : 1);
  },
);
