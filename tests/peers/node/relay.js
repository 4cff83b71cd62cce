// A host or a client of the Dev Tunnels SDK, unmodified, on a relay.
//
//   node relay.js host   URL USERTOKEN TUNNEL PORT [e2e]   creates the tunnel, hosts PORT; prints READY
//   node relay.js client URL USERTOKEN TUNNEL PORT [e2e]   connects; prints PORT <local port>
//
// Commands on standard input, a line each: `drop` cuts the WebSocket below, `quit` ends in order.
'use strict';
const { TunnelManagementHttpClient } = require('@microsoft/dev-tunnels-management');
const { TunnelRelayTunnelHost, TunnelRelayTunnelClient } = require('@microsoft/dev-tunnels-connections');

const [mode, url, userToken, tunnelId, portText, e2e] = process.argv.slice(2);
const port = Number(portText);
const management = new TunnelManagementHttpClient(
    { name: 'adit-tests', version: '1.0' }, '2023-09-27-preview', () => Promise.resolve(userToken || null), url);
const out = (line) => process.stdout.write(line + '\n');

async function host() {
    const tunnel = await management.createOrUpdateTunnel(
        { tunnelId, clusterId: 'local', ports: [{ portNumber: port, protocol: 'auto' }] },
        { tokenScopes: ['host', 'connect'], includePorts: true });
    const host = new TunnelRelayTunnelHost(management);
    host.enableE2EEncryption = e2e === 'e2e';
    host.connectionStatusChanged((e) => out(`STATUS ${e.status} ${e.disconnectError || ''}`));
    await host.connect(tunnel);
    out(`TOKEN ${tunnel.accessTokens ? tunnel.accessTokens.connect : ''}`);
    out('READY');
    return host;
}

async function client() {
    const tunnel = await management.getTunnel({ tunnelId, clusterId: 'local' }, { tokenScopes: ['connect'], includePorts: true });
    const client = new TunnelRelayTunnelClient(management);
    client.acceptLocalConnectionsForForwardedPorts = true;
    client.enableE2EEncryption = e2e === 'e2e';
    client.connectionStatusChanged((e) => out(`STATUS ${e.status} ${e.disconnectError || ''}`));
    await client.connect(tunnel);
    await client.waitForForwardedPort(port);
    const forwarded = client.forwardedPorts.find((p) => p.remotePort === port);
    out(`PORT ${forwarded.localPort}`);
    return client;
}

(async () => {
    const end = await (mode === 'host' ? host() : client());
    require('readline').createInterface({ input: process.stdin }).on('line', async (line) => {
        if (line === 'quit') { await end.dispose(); process.exit(0); }
        if (line === 'drop') { const s = end.stream || (end.sshSession && end.sshSession.protocol && end.sshSession.protocol.stream); if (s && s.close) { s.close(); } out('DROPPED'); }
    });
})().catch((e) => { out(`ERROR ${e.message}`); process.stderr.write(`${e.stack}\n`); process.exit(1); });
