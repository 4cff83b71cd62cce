// What both sides use: markers, sockets, time limits and the echo.
'use strict';

const crypto = require('node:crypto');
const net = require('node:net');

function mark(marker) {
  process.stdout.write(marker + '\n');
}

function check(holds, why) {
  if (!holds) throw new Error(why);
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`${what} not in ${ms} ms`)), ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function tune(socket) {
  socket.setNoDelay(true);
  // The session hears of it from its stream.
  socket.on('error', () => {});
  return socket;
}

async function dial(port) {
  const socket = tune(net.connect(port, '127.0.0.1'));
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

function listen(port, onSocket) {
  const listener = net.createServer((socket) => onSocket(tune(socket)));
  return new Promise((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(port, '127.0.0.1', () => resolve(listener.address().port));
  });
}

function trace(session) {
  if (!process.env.SSH_TRACE) return;
  session.trace = (level, id, message) => process.stderr.write(`${level} ${id} ${message}\n`);
}

// The library uses its buffer again for the next message.
function copyOf(data) {
  return Buffer.from(data);
}

// Byte i is i mod 256.
function pattern(length) {
  return Buffer.from(Array.from({ length }, (_, i) => i % 256));
}

// Sends what comes back where it came from. To be attached while the channel is being opened: the library drops what
// comes before.
function echo(channel, onEchoed = (data) => mark(`ECHOED ${data.length}`), take = () => false) {
  channel.onDataReceived(async (data) => {
    const copy = copyOf(data);
    try {
      if (take(copy)) return channel.adjustWindow(copy.length);
      await channel.send(copy);
      onEchoed(copy);
      channel.adjustWindow(copy.length);
    } catch (error) {
      process.stderr.write(`the channel closed during its echo: ${error.message}\n`);
    }
  });
  channel.onEof(() => channel.send(Buffer.alloc(0)).catch(() => {}));
}

// All that a channel of ours gets, to be asked for by length.
function reader(channel) {
  let received = Buffer.alloc(0);
  let look = () => {};
  channel.onDataReceived((data) => {
    received = Buffer.concat([received, data]);
    channel.adjustWindow(data.length);
    look();
  });
  return (length) =>
    new Promise((resolve) => {
      look = () => {
        if (received.length < length) return;
        resolve(received.subarray(0, length));
        received = received.subarray(length);
        look = () => {};
      };
      look();
    });
}

// Sends `data` and tells whether the same comes back.
async function echoes(channel, read, data) {
  const [, back] = await within(10_000, 'the echo came', Promise.all([channel.send(data), read(data.length)]));
  const digest = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');
  return digest(back) === digest(data);
}

async function expectEcho(channel, read, text, marker) {
  check(await echoes(channel, read, Buffer.from(text)), 'the echo differs');
  mark(marker);
}

module.exports = {
  check,
  copyOf,
  dial,
  echo,
  echoes,
  expectEcho,
  listen,
  mark,
  pattern,
  reader,
  sleep,
  trace,
  tune,
  within,
};
