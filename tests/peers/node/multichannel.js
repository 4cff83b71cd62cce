// A Dev Tunnels MultiChannelStream over a loopback socket.
//
// Settings: listen (true for the accepting end of the socket) or port; channels (how many it opens itself), length
// (bytes that each of those sends and wants back); close (whether it closes once that is done and it has
// refused something). Every channel of the
// other side is echoed; one of type `refuse` is refused.
'use strict';

const net = require('node:net');
const { fail, say, settings, ssh, trace } = require('./common');

async function run(socket) {
  let refused;
  const hasRefused = new Promise((resolve) => (refused = resolve));
  socket.setNoDelay(true);
  socket.on('error', (error) => trace('socket', 0, String(error)));
  const streams = new ssh.MultiChannelStream(new ssh.NodeStream(socket));
  streams.trace = trace;
  streams.onClosed((args) => say('closed', { reason: args.reason }));
  streams.onChannelOpening((args) => {
    if (!args.isRemoteRequest) return;
    if (args.channel.channelType === 'refuse') {
      args.failureReason = 1;
      args.failureDescription = 'refused here';
      setTimeout(refused, 100);
      return;
    }
    // Attached now, or data that comes right behind the open is lost.
    args.channel.onDataReceived((data) => {
      const copy = Buffer.from(data);
      args.channel.send(copy).catch(() => {});
      args.channel.adjustWindow(copy.length);
    });
  });
  await streams.connect();
  say('ready');

  const bulk = Buffer.alloc(settings.length || 0);
  for (let i = 0; i < bulk.length; i++) bulk[i] = i % 251;
  const exchange = async (number) => {
    const channel = await streams.openChannel(`type ${number}`);
    const parts = [];
    let received = 0;
    const done = new Promise((resolve) => {
      channel.onDataReceived((data) => {
        parts.push(Buffer.from(data));
        received += data.length;
        channel.adjustWindow(data.length);
        if (received >= bulk.length) resolve();
      });
    });
    await channel.send(bulk);
    await done;
    if (!Buffer.concat(parts).equals(bulk)) throw new Error('the echo differs');
    await channel.close();
  };
  const numbers = [...Array(settings.channels || 0).keys()];
  await Promise.all(numbers.map(exchange));
  say('exchanged', { channels: numbers.length });
  if (settings.close) {
    await hasRefused;
    await streams.close();
  }
}

if (settings.listen) {
  const server = net.createServer((socket) => run(socket).catch(fail));
  server.listen(0, '127.0.0.1', () => say('listening', { port: server.address().port }));
} else {
  const socket = net.connect(settings.port, '127.0.0.1', () => run(socket).catch(fail));
}
