// Keys are changed while data flows. How often is told on stderr, where the tests look for it.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');
const { check, echoes, expectEcho, mark, pattern, reader } = require('../ends');

const THRESHOLD = 4096;

function configure(config) {
  config.keyRotationThreshold = THRESHOLD;
}

// The library's trace has a line for each message.
function watch(session) {
  const { trace } = session;
  let exchanges = 0;
  session.trace = (level, id, message, error) => {
    if (id === ssh.SshTraceEventIds.receivingMessage && message.includes('NewKeys')) exchanges += 1;
    trace(level, id, message, error);
  };
  session.onClosed(() => process.stderr.write(`sets of keys: ${exchanges}\n`));
}

async function run(session) {
  const channel = await session.openChannel();
  const read = reader(channel);
  mark('CHANNEL_OPEN');
  check(await echoes(channel, read, pattern(16 * 1024)), 'the echo differs');
  mark('REKEY_DATA_OK');
  await expectEcho(channel, read, 'POST_REKEY_ECHO', 'POST_REKEY_ECHO_OK');
}

module.exports = { configure, watch, run };
