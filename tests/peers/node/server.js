// A Dev Tunnels SSH server on a free loopback port that forwards ports both ways.
//
// Settings: host_key (PEM), user, password, authorized_key (.pub), and the lists and limits of common.js.
'use strict';

const net = require('node:net');
const tcp = require('@microsoft/dev-tunnels-ssh-tcp');
const { configuration, fail, readKey, sameKey, say, settings, ssh, trace } = require('./common');
const { listenOnFreePorts } = require('./listeners');

async function admit(args) {
  if (args.username !== settings.user) return null;
  switch (args.authenticationType) {
    case ssh.SshAuthenticationType.clientPassword:
      return settings.password && args.password === settings.password ? { name: args.username } : null;
    case ssh.SshAuthenticationType.clientPublicKeyQuery:
    case ssh.SshAuthenticationType.clientPublicKey:
      return settings.authorized_key && (await sameKey(args.publicKey, settings.authorized_key))
        ? { name: args.username }
        : null;
    default:
      return null;
  }
}

async function main() {
  const config = configuration();
  config.addService(tcp.PortForwardingService);
  const hostKey = await readKey(settings.host_key);
  const reconnectable = settings.reconnect ? [] : undefined;

  const server = net.createServer(async (socket) => {
    socket.setNoDelay(true);
    socket.on('error', (error) => trace('socket', 0, String(error)));
    const session = new ssh.SshServerSession(config, reconnectable);
    session.trace = trace;
    listenOnFreePorts(session);
    session.credentials = { publicKeys: [hostKey] };
    session.onAuthenticating((args) => (args.authenticationPromise = admit(args)));
    session.onRequest((args) => (args.isAuthorized = true));
    session.onDisconnected(() => say('disconnected'));
    session.onReconnected(() => say('reconnected'));
    session.onClosed((args) => say('session_closed', { message: args.message || '' }));
    try {
      await session.connect(new ssh.NodeStream(socket));
    } catch (error) {
      say('session_failed', { message: String(error) });
      session.dispose();
    }
  });
  server.listen(0, '127.0.0.1', () => say('listening', { port: server.address().port }));
}

main().catch(fail);
