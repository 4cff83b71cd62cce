// A text goes there and back.
'use strict';

const { expectEcho, mark, reader } = require('../ends');

async function run(session) {
  const channel = await session.openChannel();
  const read = reader(channel);
  mark('CHANNEL_OPEN');
  await expectEcho(channel, read, 'INTEROP_TEST_DATA', 'ECHO_OK');
}

module.exports = { run };
