// The session outlives its connection.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');
const { dial, expectEcho, mark, reader, sleep, within } = require('../ends');

// For each step.
const LOSS = 5_000;

// The library has no event for it.
async function bothEnabled(session) {
  const { protocol } = session;
  while (!protocol.incomingMessagesHaveReconnectInfo || !protocol.outgoingMessagesHaveReconnectInfo) await sleep(10);
}

async function run(session, asked, link) {
  await within(LOSS, 'reconnecting was enabled', bothEnabled(session));
  const channel = await session.openChannel();
  const read = reader(channel);
  mark('CHANNEL_OPEN');
  await expectEcho(channel, read, 'BEFORE_RECONNECT', 'ECHO_OK');
  const disconnected = new Promise((resolve) => session.onDisconnected(resolve));
  link.socket.destroy();
  await within(LOSS, 'it was disconnected', disconnected);
  mark('DISCONNECTED');
  // The library is still taking its old connection apart.
  do await sleep(50);
  while (session.isConnected);
  await session.reconnect(new ssh.NodeStream(await dial(asked.port)));
  mark('RECONNECT_OK');
  await expectEcho(channel, read, 'AFTER_RECONNECT', 'ECHO_AFTER_RECONNECT_OK');
}

module.exports = { reconnectable: true, run };
