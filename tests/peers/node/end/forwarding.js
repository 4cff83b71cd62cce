// Port forwarding, by the commands of end.js.
'use strict';

const tcp = require('@microsoft/dev-tunnels-ssh-tcp');
const { say } = require('../common');
const { make, withFields } = require('./messages');

// Grants another port than the one that was asked for.
class ChangingFactory {
  constructor(port) {
    this.port = port;
  }
  async createRequestMessageAsync() {
    return new tcp.PortForwardRequestMessage();
  }
  async createSuccessMessageAsync() {
    // The service writes the port that was asked for over it.
    const { port } = this;
    return Object.defineProperty(new tcp.PortForwardSuccessMessage(), 'port', { get: () => port, set() {} });
  }
  async createChannelOpenMessageAsync() {
    return new tcp.PortForwardChannelOpenMessage();
  }
}

// The service, with its collections watched once.
function service(state) {
  const forwarding = state.session.activateService(tcp.PortForwardingService);
  if (state.watched === forwarding) return forwarding;
  state.watched = forwarding;
  for (const side of ['localForwardedPorts', 'remoteForwardedPorts']) {
    const ports = forwarding[side];
    const told = (what) => ({ port }) =>
      say('port', { side, what, local: port.localPort, remote: port.remotePort });
    ports.onPortAdded(told('added'));
    ports.onPortUpdated(told('updated'));
    ports.onPortRemoved(told('removed'));
  }
  return forwarding;
}

// {grants, streams}: lets the other side ask for ports, grants another one, and connects to others or not.
async function serve_ports(state, { grants, streams = true }) {
  const forwarding = service(state);
  forwarding.acceptRemoteConnectionsForNonForwardedPorts = streams;
  if (grants) forwarding.messageFactory = new ChangingFactory(grants);
  state.session.onRequest((args) => {
    if (args.requestType.endsWith('tcpip-forward')) args.isAuthorized = true;
  });
}

// {name, port, target}: a listener of the other side.
async function forward_from(state, { name, port, target }) {
  const forward = await service(state).forwardFromRemotePort('127.0.0.1', port, '127.0.0.1', target);
  state.forwards.set(name, forward);
  return { granted: !!forward, port: forward && forward.remotePort };
}

// {name, more}: a listener of the other side whose connections are echoed here; the request has `more` fields.
async function stream_from(state, { name, more }) {
  const forwarding = service(state);
  const Request = withFields(tcp.PortForwardRequestMessage);
  const { messageFactory } = forwarding;
  forwarding.messageFactory = {
    createRequestMessageAsync: async () => make(Request, { fields: more }),
    createSuccessMessageAsync: (port) => messageFactory.createSuccessMessageAsync(port),
    createChannelOpenMessageAsync: (port) => messageFactory.createChannelOpenMessageAsync(port),
  };
  const streamer = await forwarding.streamFromRemotePort('127.0.0.1', 0);
  forwarding.messageFactory = messageFactory;
  streamer.onStreamOpened((stream) => stream.pipe(stream));
  state.forwards.set(name, streamer);
  return { port: streamer.remotePort };
}

// {name, target}: a listener of this side.
async function forward_to(state, { name, target }) {
  const forward = await service(state).forwardToRemotePort('127.0.0.1', 0, '127.0.0.1', target);
  state.forwards.set(name, forward);
  return { port: forward.localPort };
}

// {name}
async function stop_forward(state, { name }) {
  state.forwards.get(name).dispose();
}

// {port, text}: a connection, without a socket, to a port that the other side has asked for.
async function connect_to(state, { port, text }) {
  const forwarding = service(state);
  await forwarding.waitForForwardedPort(port);
  return { text: await exchange(await forwarding.connectToForwardedPort(port), text) };
}

// {target, text}: a stream to a port beyond the other side.
async function stream_to(state, { target, text }) {
  return { text: await exchange(await service(state).streamToRemotePort('127.0.0.1', target), text) };
}

// Writes `text` and gives what comes back, which is to be as long.
function exchange(stream, text) {
  return new Promise((resolve, reject) => {
    let back = '';
    stream.on('error', reject);
    stream.on('data', (data) => {
      back += data;
      if (back.length < text.length) return;
      resolve(back);
      stream.destroy();
    });
    stream.write(text);
  });
}

module.exports = { connect_to, forward_from, forward_to, serve_ports, stop_forward, stream_from, stream_to };
