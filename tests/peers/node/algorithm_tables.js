// The algorithms of the Dev Tunnels library by the names that they have on the wire.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');

const listsByOption = {
  kex: ['keyExchangeAlgorithms', ssh.SshAlgorithms.keyExchange],
  host_key_algorithms: ['publicKeyAlgorithms', ssh.SshAlgorithms.publicKey],
  ciphers: ['encryptionAlgorithms', ssh.SshAlgorithms.encryption],
  macs: ['hmacAlgorithms', ssh.SshAlgorithms.hmac],
};

function known(table) {
  const algorithms = Object.values(table).filter((algorithm) => algorithm);
  if (table === ssh.SshAlgorithms.encryption) {
    // Shipped, but in no list: an application has to add it.
    algorithms.push(new ssh.Encryption('aes256-cbc', 'AES', 'CBC', 256));
  }
  return algorithms;
}

function find(table, name) {
  const algorithm = known(table).find((candidate) => candidate.name === name);
  if (!algorithm) throw new Error(`no algorithm is called ${name}`);
  return algorithm;
}

// `lists` has a comma-separated list for each option that shall differ from the library's own.
function configure(config, lists) {
  for (const [option, [list, table]] of Object.entries(listsByOption)) {
    if (!lists[option]) continue;
    config[list].length = 0;
    config[list].push(...lists[option].split(',').map((name) => find(table, name)));
  }
}

module.exports = { configure, known, listsByOption };
