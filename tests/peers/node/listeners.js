// Listeners of the Dev Tunnels service on ports that both loopback addresses have free.
//
// For port 0 the library takes one of 127.0.0.1 and then wants the same of ::1, which may be in use.
'use strict';

const net = require('node:net');
const tcp = require('@microsoft/dev-tunnels-ssh-tcp');

const TRIES = 100;

class ListenerFactory {
  async createTcpListener(_remotePort, address, port) {
    if (port !== 0 || address !== '127.0.0.1') return listen(address, port);
    for (let tries = 1; ; tries++) {
      const listener = await listen(address, 0);
      if (tries === TRIES || !(await isTaken(listener.address().port))) return listener;
      await close(listener);
    }
  }
}

function listen(host, port) {
  const listener = net.createServer();
  return new Promise((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ host, port, ipv6Only: net.isIPv6(host) }, () => resolve(listener));
  });
}

function close(listener) {
  return new Promise((resolve) => listener.close(resolve));
}

// Whether a port of ::1 is in use; there may be no such address.
async function isTaken(port) {
  try {
    await close(await listen('::1', port));
    return false;
  } catch (error) {
    return error.code === 'EADDRINUSE';
  }
}

// Has the session's port forwarding service listen so, once there is one.
function listenOnFreePorts(session) {
  session.onServiceActivated((service) => {
    if (service instanceof tcp.PortForwardingService) service.tcpListenerFactory = new ListenerFactory();
  });
}

module.exports = { listenOnFreePorts };
