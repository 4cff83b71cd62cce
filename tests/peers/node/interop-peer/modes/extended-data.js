// Stderr, both ways.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');
const { check, copyOf, echo, mark, reader, within } = require('../ends');

const { STDERR } = ssh.SshExtendedDataType;

function channel(channel) {
  channel.onExtendedDataReceived(({ dataTypeCode, data }) => {
    const copy = copyOf(data);
    mark(`EXTENDED_DATA_RECEIVED: type=${dataTypeCode} len=${copy.length}`);
    channel.send(copy).then(() => channel.adjustWindow(copy.length));
  });
  echo(channel, undefined, (data) => {
    if (data.toString() !== 'SEND_STDERR') return false;
    channel.sendExtendedData(STDERR, Buffer.from('SERVER_STDERR_OUTPUT')).then(() => mark('STDERR_SENT'));
    return true;
  });
}

async function run(session) {
  const channel = await session.openChannel();
  const read = reader(channel);
  const stderr = new Promise((resolve) => {
    channel.onExtendedDataReceived(({ dataTypeCode, data }) => {
      channel.adjustWindow(data.length);
      resolve(`${dataTypeCode} ${data}`);
    });
  });
  mark('CHANNEL_OPEN');
  const text = 'CLIENT_STDERR_DATA';
  await channel.sendExtendedData(STDERR, Buffer.from(text));
  check((await within(10_000, 'the echo came', read(text.length))).toString() === text, 'the echo differs');
  mark('EXTENDED_DATA_SEND_OK');
  await channel.send(Buffer.from('SEND_STDERR'));
  check((await within(10_000, 'stderr came', stderr)) === '1 SERVER_STDERR_OUTPUT', 'stderr differs');
  mark('EXTENDED_DATA_RECV_OK');
}

module.exports = { channel, run };
