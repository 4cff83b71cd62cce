// A stream to a port beyond the server.
'use strict';

const { PortForwardingService } = require('@microsoft/dev-tunnels-ssh-tcp');
const { check, listen, mark, within } = require('../ends');

const TEXT = 'PORT_FORWARD_TEST_DATA';

function configure(config) {
  config.addService(PortForwardingService);
}

// An echo server of its own.
function prepare() {
  return listen(0, (socket) => socket.pipe(socket));
}

async function run(session, asked) {
  check(asked.extra, 'the mode needs the port of the echo server');
  const forwarding = session.activateService(PortForwardingService);
  const stream = await forwarding.streamToRemotePort('127.0.0.1', Number(asked.extra));
  const back = new Promise((resolve) => {
    let text = '';
    stream.on('data', (data) => {
      text += data;
      if (text.length >= TEXT.length) resolve(text);
    });
  });
  stream.write(TEXT);
  check((await within(10_000, 'the echo came', back)) === TEXT, 'the echo differs');
  mark('PORT_FORWARD_OK');
}

module.exports = { configure, prepare, run };
