// One session as a client: the login, what the mode does, and the end.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');
const { check, dial, mark, trace, within } = require('./ends');

// The client gives up after this.
const LIFETIME = 25_000;

async function connect(asked) {
  const { mode } = asked;
  const session = new ssh.SshClientSession(asked.configuration());
  trace(session);
  if (mode.watch) mode.watch(session);
  session.onAuthenticating((args) => {
    if (args.authenticationType === ssh.SshAuthenticationType.serverPublicKey) {
      args.authenticationPromise = Promise.resolve({});
    } else if (mode.answer) {
      mode.answer(args);
    }
  });
  const run = async () => {
    // What a mode may cut.
    const link = { socket: await dial(asked.port) };
    await session.connect(new ssh.NodeStream(link.socket));
    const own = mode.credentials ? await mode.credentials(asked) : {};
    check(await session.authenticate({ username: 'testuser', ...own }), 'authentication failed');
    if (mode.authenticated) mark(mode.authenticated);
    mark('AUTHENTICATED');
    await mode.run(session, asked, link);
    mark('DONE');
    await session.close(ssh.SshDisconnectReason.byApplication, 'done');
  };
  await within(LIFETIME, 'everything was done', run());
}

module.exports = { connect };
