// A Dev Tunnels SSH client that logs in and forwards the ports it is told to.
//
// Settings: port, server_key (.pub), user, password or client_key (PEM), local and remote (a target port on
// 127.0.0.1 each), reconnect (come back when the connection is lost), and the lists and limits of common.js.
'use strict';

const net = require('node:net');
const tcp = require('@microsoft/dev-tunnels-ssh-tcp');
const { configuration, fail, readKey, sameKey, say, settings, ssh, trace } = require('./common');
const { listenOnFreePorts } = require('./listeners');

async function main() {
  const config = configuration();
  config.addService(tcp.PortForwardingService);
  const dial = async () => {
    const socket = net.connect(settings.port, '127.0.0.1');
    socket.setNoDelay(true);
    socket.on('error', (error) => trace('socket', 0, String(error)));
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new ssh.NodeStream(socket);
  };

  const session = new ssh.SshClientSession(config);
  session.trace = trace;
  listenOnFreePorts(session);
  session.onAuthenticating((args) => {
    args.authenticationPromise = sameKey(args.publicKey, settings.server_key).then((same) => (same ? {} : null));
  });
  session.onClosed((args) => say('closed', { message: args.message || '' }));
  if (settings.reconnect) {
    session.onDisconnected(async () => {
      say('disconnected');
      // The library is still taking its old connection apart.
      do await new Promise((resolve) => setTimeout(resolve, 50));
      while (session.isConnected);
      await session.reconnect(await dial());
      say('reconnected');
    });
  }
  await session.connect(await dial());
  const credentials = { username: settings.user };
  if (settings.client_key) credentials.publicKeys = [await readKey(settings.client_key)];
  else credentials.password = settings.password;
  if (!(await session.authenticate(credentials))) {
    say('error', { message: 'authentication refused' });
    process.exit(1);
  }

  const forwarding = session.activateService(tcp.PortForwardingService);
  const ready = {};
  if (settings.local) {
    const forward = await forwarding.forwardToRemotePort('127.0.0.1', 0, '127.0.0.1', settings.local);
    ready.local_port = forward.localPort;
  }
  if (settings.remote) {
    const forward = await forwarding.forwardFromRemotePort('127.0.0.1', 0, '127.0.0.1', settings.remote);
    if (!forward) throw new Error('the server refused the remote forward');
    ready.remote_port = forward.remotePort;
  }
  say('ready', ready);
}

main().catch(fail);
