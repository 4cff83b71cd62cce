// 1 MiB goes there and back: past the window, in both directions.
'use strict';

const { check, echoes, mark, pattern, reader } = require('../ends');

async function run(session) {
  const channel = await session.openChannel();
  const read = reader(channel);
  mark('CHANNEL_OPEN');
  const same = await echoes(channel, read, pattern(1024 * 1024));
  mark(same ? 'LARGE_DATA_OK' : 'LARGE_DATA_FAIL');
  check(same, 'the echo differs');
}

module.exports = { run };
