// A Dev Tunnels SSH client that only logs in, with whatever it is given: keys, a password, or answers to questions.
//
// Settings: port, server_key (.pub), user, client_keys (PEM files) and password, or neither; `echo` expects each
// question's flag as `visible` or `hidden` in front of its answer.
'use strict';

const net = require('node:net');
const { configuration, fail, readKey, sameKey, say, settings, ssh, trace } = require('./common');

async function main() {
  const socket = net.connect(settings.port, '127.0.0.1');
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const session = new ssh.SshClientSession(configuration());
  session.trace = trace;
  session.onAuthenticating((args) => {
    if (args.authenticationType === ssh.SshAuthenticationType.clientInteractive) {
      const response = new ssh.AuthenticationInfoResponseMessage();
      const answers = args.infoRequest.prompts.map(
        ({ prompt, echo }) => `${echo ? 'visible' : 'hidden'} ${prompt}`,
      );
      response.responses = answers;
      args.infoResponse = response;
      args.authenticationPromise = Promise.resolve(null);
    } else {
      args.authenticationPromise = sameKey(args.publicKey, settings.server_key).then((same) => (same ? {} : null));
    }
  });
  await session.connect(new ssh.NodeStream(socket));
  const credentials = { username: settings.user, publicKeys: [] };
  for (const path of settings.client_keys) credentials.publicKeys.push(await readKey(path));
  if (settings.password) credentials.password = settings.password;
  say((await session.authenticate(credentials)) ? 'ready' : 'refused');
}

main().catch(fail);
