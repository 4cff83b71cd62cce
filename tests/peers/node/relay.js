// A host or a client of the Dev Tunnels SDK on a relay.
//
// Settings: role (host or client), url of the relay, tunnel, ports, e2e; by what right: user_token for the management
// API, connect_token for the client's way in (in place of what the API gives), access for the tunnel's rules.
//
// Events: status, with what the SDK says of its connection; ready, with the host's tokens or the client's local port
// of each port. Commands on stdin, a line each: `ports` tells a client's local ports again, or none if it
// cannot say; `quit` ends in order.
'use strict';

const { fail, say, settings, trace } = require('./common');
const { TunnelManagementHttpClient } = require('@microsoft/dev-tunnels-management');
const { TunnelRelayTunnelHost, TunnelRelayTunnelClient } = require('@microsoft/dev-tunnels-connections');

const agent = { name: 'adit-tests', version: '1.0' };
const userToken = () => Promise.resolve(settings.user_token ? `Bearer ${settings.user_token}` : null);
const management = new TunnelManagementHttpClient(agent, '2023-09-27-preview', userToken, settings.url);
const address = { tunnelId: settings.tunnel, clusterId: 'local' };

function watch(end) {
  end.trace = trace;
  end.enableE2EEncryption = !!settings.e2e;
  end.connectionStatusChanged((e) => {
    say('status', { status: e.status, before: e.previousStatus, error: String((e.disconnectError && e.disconnectError.message) || '') });
  });
}

async function host() {
  const ports = settings.ports.map((portNumber) => ({ portNumber, protocol: 'auto' }));
  const wanted = { ...address, ports };
  if (settings.access) wanted.accessControl = settings.access;
  const asked = { tokenScopes: ['host', 'connect'], includePorts: true };
  const tunnel = await management.createOrUpdateTunnel(wanted, asked);
  const host = new TunnelRelayTunnelHost(management);
  watch(host);
  await host.connect(tunnel);
  say('ready', { tokens: tunnel.accessTokens || {} });
  return host;
}

async function client() {
  const asked = { tokenScopes: ['connect'], includePorts: true };
  const own = settings.connect_token ? { connect: settings.connect_token } : undefined;
  const tunnel = await management.getTunnel({ ...address, accessTokens: own }, asked);
  if (own) tunnel.accessTokens = own;
  const client = new TunnelRelayTunnelClient(management);
  client.acceptLocalConnectionsForForwardedPorts = true;
  watch(client);
  await client.connect(tunnel);
  say('ready', { ports: await localPorts(client, 25000) });
  return client;
}

function failAfter(time) {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error('this takes too long')), time).unref();
  });
}

async function localPorts(client, patience) {
  const ports = {};
  for (const port of settings.ports) {
    // On a session that is over already it waits for ever.
    await Promise.race([client.waitForForwardedPort(port), failAfter(patience)]);
    ports[port] = client.forwardedPorts.find((forwarded) => forwarded.remotePort === port).localPort;
  }
  return ports;
}

async function main() {
  const end = await (settings.role === 'host' ? host() : client());
  process.stdin.setEncoding('utf8');
  process.stdin.on('data', async (text) => {
    // After a comeback a v2 client listens anew; none while it is away, even if it does not know of that yet.
    if (text.includes('ports')) {
      const ports = await localPorts(end, 2000).catch((error) => {
        trace('ports', 0, error.message);
        return {};
      });
      say('ports', { ports });
    }
    if (!text.includes('quit')) return;
    // It may be about to come back.
    await end.dispose().catch((error) => trace('quit', 0, error.message));
    process.exit(0);
  });
}

main().catch(fail);
