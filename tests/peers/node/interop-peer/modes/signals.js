// Signals, and what a closing channel says of its end.
'use strict';

const { ChannelSignalMessage } = require('@microsoft/dev-tunnels-ssh/messages/connectionMessages');
const { check, echo, mark, within } = require('../ends');

function channel(channel) {
  channel.onRequest((args) => {
    mark(`SIGNAL_RECEIVED: ${args.requestType}`);
    args.isAuthorized = true;
  });
  echo(channel, undefined, (data) => {
    switch (data.toString()) {
      case 'CLOSE_WITH_STATUS':
        mark('CLOSING_WITH_STATUS_42');
        channel.close(42);
        return true;
      case 'CLOSE_WITH_SIGNAL':
        mark('CLOSING_WITH_SIGNAL_KILL');
        channel.close('KILL', 'process killed');
        return true;
      default:
        return false;
    }
  });
}

async function closed(channel, command) {
  const closing = new Promise((resolve) => channel.onClosed(resolve));
  await channel.send(Buffer.from(command));
  return within(10_000, 'it closed', closing);
}

async function run(session) {
  const first = await session.openChannel();
  mark('CHANNEL_OPEN');
  const signal = new ChannelSignalMessage();
  signal.signal = 'TERM';
  await first.request(signal);
  mark('SIGNAL_SENT');
  check((await closed(first, 'CLOSE_WITH_STATUS')).exitStatus === 42, 'the channel did not close with status 42');
  mark('EXIT_STATUS_OK');
  const { exitSignal, errorMessage } = await closed(await session.openChannel(), 'CLOSE_WITH_SIGNAL');
  check(exitSignal === 'KILL' && errorMessage === 'process killed', 'the channel did not close with the signal KILL');
  mark('EXIT_SIGNAL_OK');
}

module.exports = { channel, run };
