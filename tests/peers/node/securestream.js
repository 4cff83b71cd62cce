// A Dev Tunnels SecureStream over loopback sockets that echoes what it reads.
//
// Settings: user, password; as a server host_key (PEM), as a client port and server_key (.pub); reconnect (whether the
// stream outlives its socket); note (what it writes by itself whenever it loses the socket). It closes when it reads
// `close` at once, and ends its way when it reads `end`.
'use strict';

const net = require('node:net');
const { fail, readKey, sameKey, say, settings, ssh, trace } = require('./common');

function observe(stream, isOnline) {
  stream.trace = trace;
  // The library lets new messages overtake those that it sends again, so nothing is written meanwhile.
  const held = [];
  let received = 0;
  const flush = () => {
    while (isOnline() && held.length) stream.write(held.shift());
  };
  stream.onDisconnected(() => {
    say('disconnected');
    if (settings.note) stream.write(settings.note);
  });
  // The stream's own event is not raised when the other side closes.
  stream.session.onClosed((args) => say('closed', { reason: args.reason, message: args.message || '', received }));
  stream.on('error', (error) => trace('stream', 0, String(error)));
  stream.on('data', (data) => {
    received += data.length;
    const text = data.length < 8 ? data.toString() : '';
    if (text === 'close') stream.close().catch(fail);
    else if (text === 'end') stream.end();
    else {
      held.push(Buffer.from(data));
      flush();
    }
  });
  return flush;
}

async function dial() {
  const socket = net.connect(settings.port, '127.0.0.1');
  socket.setNoDelay(true);
  socket.on('error', (error) => trace('socket', 0, String(error)));
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

async function connect() {
  const credentials = { username: settings.user, password: settings.password };
  const stream = new ssh.SecureStream(await dial(), credentials, !!settings.reconnect);
  let online = true;
  const flush = observe(stream, () => online);
  stream.onAuthenticating((args) => {
    args.authenticationPromise = sameKey(args.publicKey, settings.server_key).then((same) => (same ? {} : null));
  });
  stream.onDisconnected(async () => {
    online = false;
    try {
      await stream.reconnect(await dial());
      online = true;
      say('reconnected');
      flush();
    } catch (error) {
      fail(error);
    }
  });
  await stream.connect();
  say('ready');
}

async function admit(args) {
  const known = args.username === settings.user;
  if (args.authenticationType !== ssh.SshAuthenticationType.clientPassword || !known) return null;
  return args.password === settings.password ? { name: args.username } : null;
}

async function serve(socket, hostKey, sessions) {
  socket.setNoDelay(true);
  socket.on('error', (error) => trace('socket', 0, String(error)));
  const stream = new ssh.SecureStream(socket, { publicKeys: [hostKey] }, settings.reconnect ? sessions : undefined);
  let online = true;
  const flush = observe(stream, () => online);
  stream.onAuthenticating((args) => (args.authenticationPromise = admit(args)));
  stream.onDisconnected(() => (online = false));
  stream.session.onReconnected(() => {
    online = true;
    say('reconnected');
    flush();
  });
  try {
    await stream.connect();
    // Without a channel an older stream has taken the socket over.
    say(stream.session.isClosed ? 'handed_over' : 'ready');
  } catch (error) {
    say('refused', { message: String(error) });
  }
}

async function listen() {
  const hostKey = await readKey(settings.host_key);
  const sessions = [];
  const server = net.createServer((socket) => serve(socket, hostKey, sessions));
  server.listen(0, '127.0.0.1', () => say('listening', { port: server.address().port }));
}

(settings.port ? connect() : listen()).catch((error) =>
  settings.expect_failure ? say('refused', { message: String(error) }) : fail(error),
);
