// The login is a key's. The library's client never asks first whether a key would do: its server is asked by others.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');
const { mark } = require('../ends');

function configure(config) {
  config.authenticationMethods.splice(0, Infinity, 'publickey');
}

function admit({ authenticationType, username }) {
  const { clientPublicKey, clientPublicKeyQuery } = ssh.SshAuthenticationType;
  if (authenticationType === clientPublicKey) mark('PK_AUTH_VERIFIED');
  return [clientPublicKey, clientPublicKeyQuery].includes(authenticationType) ? { name: username } : null;
}

async function credentials(asked) {
  return { publicKeys: [await asked.generateKey()] };
}

module.exports = { ...require('./echo'), configure, admit, credentials, authenticated: 'PK_AUTH_OK' };
