// The command line, and the session's configuration that follows from it.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');
const { configure } = require('../algorithm_tables');

// One file each. A mode may have:
//   configure(config)          changes to the configuration of a session
//   reconnectable              whether sessions outlive their connections
//   prepare()                  what the server needs before it listens; resolves to what it announces beside its port
//   admit(args)                who is let in, in place of everybody: a principal or null
//   authenticated              the client's marker before AUTHENTICATED
//   credentials(asked)         what the client logs in with, beside its name
//   answer(args)               the client's answer to questions
//   watch(session)             a session of either side before it connects
//   accepted(session)          the same at the server alone
//   channel(channel, number)   a channel that is being opened at the server, in place of the echo
//   run(session, asked, link)  what the client does
const modes = {
  '': require('./modes/echo'),
  large: require('./modes/large'),
  multi: require('./modes/multi'),
  pkauth: require('./modes/pkauth'),
  kbdinteractive: require('./modes/kbdinteractive'),
  portfwd: require('./modes/portfwd'),
  reconnect: require('./modes/reconnect'),
  rekey: require('./modes/rekey'),
  'concurrent-requests': require('./modes/concurrent-requests'),
  'pipe-request': require('./modes/pipe-request'),
  signals: require('./modes/signals'),
  'extended-data': require('./modes/extended-data'),
};

class Unsupported extends Error {}

function parse([side, port, kex, key, cipher, mac, mode = '', extra]) {
  if (!['server', 'client'].includes(side) || !mac) {
    throw new Error('usage: interop-peer.js <server|client> <port> <kex> <pk> <enc> <mac> [mode] [extra]');
  }
  if (!modes[mode]) throw new Unsupported(`no mode is called ${mode}`);
  const asked = { side, port: Number(port), key, mode: modes[mode], extra };
  asked.configuration = () => {
    const config = new ssh.SshSessionConfiguration();
    try {
      configure(config, { kex, host_key_algorithms: key, ciphers: cipher, macs: mac });
    } catch (error) {
      throw new Unsupported(error.message);
    }
    if (asked.mode.reconnectable) {
      const { sessionReconnect, sessionLatency } = ssh.SshProtocolExtensionNames;
      config.protocolExtensions.push(sessionReconnect, sessionLatency);
    }
    if (asked.mode.configure) asked.mode.configure(config);
    return config;
  };
  // A fresh key of the kind that was asked for; its size is the library's default.
  asked.generateKey = () => asked.configuration().publicKeyAlgorithms[0].generateKeyPair();
  // Both sides find out at once whether they can.
  asked.configuration();
  return asked;
}

module.exports = { parse, Unsupported };
