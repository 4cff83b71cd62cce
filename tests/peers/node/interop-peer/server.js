// One session as a server: its host key, who is let in, and its channels.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');
const { echo, listen, mark, sleep, trace } = require('./ends');

// No session lasts longer.
const LIFETIME = 30_000;

async function serve(asked) {
  const { mode } = asked;
  const hostKey = await asked.generateKey();
  const sessions = mode.reconnectable ? [] : undefined;
  const announced = mode.prepare ? await mode.prepare() : undefined;
  let end;
  const ended = new Promise((resolve) => (end = resolve));
  let served;
  const port = await listen(asked.port, (socket) => {
    const session = new ssh.SshServerSession(asked.configuration(), sessions);
    trace(session);
    session.credentials = { publicKeys: [hostKey] };
    session.onAuthenticating((args) => {
      args.authenticationPromise = Promise.resolve(mode.admit ? mode.admit(args) : { name: args.username });
    });
    // Those behind the first bring a client back to it, and end with that.
    const isFirst = !served;
    if (isFirst) served = session;
    if (isFirst) begin(mode, session, end);
    session.connect(new ssh.NodeStream(socket)).catch((error) => {
      process.stderr.write(`ERROR: ${error.message}\n`);
      session.dispose();
    });
  });
  if (announced !== undefined) mark(`LISTENING ${port} ${announced}`);
  else mark(asked.port ? 'LISTENING' : `LISTENING ${port}`);
  await Promise.race([ended, sleep(LIFETIME)]);
  // What the session logged goes out before the process ends.
  await sleep(20);
}

function begin(mode, session, end) {
  let number = 0;
  if (mode.watch) mode.watch(session);
  if (mode.accepted) mode.accepted(session);
  session.onChannelOpening((args) => {
    if (!args.isRemoteRequest || mode.pipes) return;
    if (mode.channel) mode.channel(args.channel, number);
    else echo(args.channel);
    number += 1;
  });
  session.onReconnected(() => mark('RECONNECTED'));
  session.onClosed(end);
}

module.exports = { serve };
