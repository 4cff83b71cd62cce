// One end of a Dev Tunnels session that is moved by commands.
//
// Settings: role; port for a client; keep_alive (seconds), extensions (more of them),
// without (extensions that it shall not have), services (whether it has those of end/services.js), guess (whether it
// guesses at the key exchange), and what common.js has.
//
// A command is a JSON line on stdin: {"do": NAME, ...}; end/commands.js and end/forwarding.js have one function each.
// What a command returns is told as the event NAME, an error as `failed`. What the other side does is told as an event
// too: end/messages.js says how fields are written.
'use strict';

const net = require('node:net');
const readline = require('node:readline');
const tcp = require('@microsoft/dev-tunnels-ssh-tcp');
const { configuration, fail, say, settings, ssh, trace } = require('./common');
const { listenOnFreePorts } = require('./listeners');
const { observe } = require('./end/observe');
const services = require('./end/services');
const commands = { ...require('./end/commands'), ...require('./end/forwarding') };

function configure() {
  const config = configuration();
  config.protocolExtensions.push(...(settings.extensions || []));
  const without = settings.without || [];
  const kept = config.protocolExtensions.filter((name) => !without.includes(name));
  config.protocolExtensions.splice(0, Infinity, ...kept);
  config.keepAliveTimeoutInSeconds = settings.keep_alive || 0;
  config.enableKeyExchangeGuess = !!settings.guess;
  config.addService(tcp.PortForwardingService);
  if (settings.services) services.all.forEach((service) => config.addService(service));
  return config;
}

async function dial() {
  const socket = net.connect(settings.port, '127.0.0.1');
  socket.setNoDelay(true);
  socket.on('error', (error) => trace('socket', 0, String(error)));
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return new ssh.NodeStream(socket);
}

async function connect(state) {
  const session = new ssh.SshClientSession(configure());
  begin(state, session);
  await session.connect(await dial());
  state.dial = dial;
  const accepted = await session.authenticate({ username: 'adit' });
  say('ready', { accepted, session: session.sessionId.toString('hex') });
}

async function listen(state) {
  const hostKey = await ssh.SshAlgorithms.publicKey.ecdsaSha2Nistp384.generateKeyPair();
  const reconnectable = settings.reconnect ? [] : undefined;
  const config = configure();
  const server = net.createServer((socket) => {
    socket.setNoDelay(true);
    socket.on('error', (error) => trace('socket', 0, String(error)));
    const session = new ssh.SshServerSession(config, reconnectable);
    session.credentials = { publicKeys: [hostKey] };
    // A later one brings the client back to the first.
    if (!state.session) begin(state, session);
    session.onClientAuthenticated(() => say('ready', { accepted: true, session: session.sessionId.toString('hex') }));
    session.connect(new ssh.NodeStream(socket)).catch((error) => trace('connect', 0, String(error)));
  });
  server.listen(0, '127.0.0.1', () => say('listening', { port: server.address().port }));
}

function begin(state, session) {
  state.session = session;
  session.trace = trace;
  listenOnFreePorts(session);
  session.onAuthenticating((args) => (args.authenticationPromise = Promise.resolve({ name: 'adit' })));
  session.onDisconnected(() => say('disconnected'));
  if (session.onReconnected) session.onReconnected(() => say('reconnected'));
  observe(state);
}

function obey(state) {
  readline.createInterface({ input: process.stdin }).on('line', async (line) => {
    const command = JSON.parse(line);
    try {
      say(command.do, (await commands[command.do](state, command)) || {});
    } catch (error) {
      const reason = error.reason === undefined ? error.failureReason : error.reason;
      say('failed', { command: command.do, reason, message: String(error.message || error) });
    }
  });
}

const state = { channels: new Map(), forwards: new Map() };
obey(state);
(settings.role === 'client' ? connect(state) : listen(state)).catch(fail);
