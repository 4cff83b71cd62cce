// The server's session leads on to an inner one, whose far end answers.
'use strict';

const { Duplex } = require('node:stream');
const ssh = require('@microsoft/dev-tunnels-ssh');
const { check, echo, expectEcho, mark, reader } = require('../ends');

// Two streams, each of which reads what is written to the other.
function streamPair() {
  const end = () =>
    new Duplex({
      read() {},
      write(data, _, done) {
        this.other.push(data);
        done();
      },
      final(done) {
        this.other.push(null);
        done();
      },
    });
  const pair = [end(), end()];
  pair[0].other = pair[1];
  pair[1].other = pair[0];
  return pair.map((stream) => new ssh.NodeStream(stream));
}

function accepted(session) {
  const [near, far] = [0, 1].map(() => new ssh.SshSession(new ssh.SshSessionConfiguration(false)));
  far.onChannelOpening(({ channel, isRemoteRequest }) => {
    if (!isRemoteRequest) return;
    channel.onRequest((args) => {
      mark(`SERVER_B_REQUEST: ${args.requestType}`);
      args.isAuthorized = true;
    });
    echo(channel);
  });
  const streams = streamPair();
  Promise.all([near.connect(streams[0]), far.connect(streams[1])]).catch((error) => {
    process.stderr.write(`ERROR: ${error.message}\n`);
  });
  // Before anything can be opened: what is opened earlier is not piped.
  session.pipe(near).catch((error) => process.stderr.write(`the pipe ended: ${error.message}\n`));
}

async function run(session) {
  const channel = await session.openChannel();
  const read = reader(channel);
  mark('CHANNEL_OPEN');
  check(await channel.request(new ssh.ChannelRequestMessage('test-request', true)), 'the request was refused');
  mark('PIPE_REQUEST_FORWARDED');
  await expectEcho(channel, read, 'PIPE_ECHO_TEST', 'ECHO_OK');
}

module.exports = { pipes: true, accepted, run };
