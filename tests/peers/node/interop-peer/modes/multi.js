// Three channels at once, each with its own text.
'use strict';

const { check, echoes, mark, reader } = require('../ends');

async function run(session) {
  const first = await session.openChannel();
  mark('CHANNEL_OPEN');
  const channels = [first, ...(await Promise.all([session.openChannel(), session.openChannel()]))];
  const echo = (channel, i) => echoes(channel, reader(channel), Buffer.from(`CH${i + 1}_DATA`));
  const same = (await Promise.all(channels.map(echo))).every((one) => one);
  mark(same ? 'MULTI_CHANNEL_OK' : 'MULTI_CHANNEL_FAIL');
  check(same, 'a channel got another text than its own');
}

module.exports = { run };
