// What the Dev Tunnels client and server scripts share: settings, events, algorithms, keys.
//
// A script gets its settings as one JSON object in argv[2], tells the harness what happens as JSON lines on
// stdout, and ends when its stdin does, so that it cannot outlive the test that started it.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const ssh = require('@microsoft/dev-tunnels-ssh');
const formatters = require('@microsoft/dev-tunnels-ssh/algorithms/node/keyFormatters');
const { configure, known, listsByOption } = require('./algorithm_tables');

const settings = JSON.parse(process.argv[2]);

function say(event, fields = {}) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');
}

function fail(error) {
  say('error', { message: String((error && error.stack) || error) });
  process.exit(1);
}

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
process.stdin.on('error', () => process.exit(0));
// Whoever read this is gone, and so is the test: the words of that would be the next error.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => process.exit(1));
// The library lets some socket errors (a reset, for one) escape; a peer of a test must survive them.
process.on('uncaughtException', (error) => process.stderr.write(`uncaught: ${error.stack}\n`));
process.on('unhandledRejection', (error) => process.stderr.write(`unhandled: ${error && error.stack}\n`));

// One list holds the algorithms of host keys and of user keys. Whoever asks for one kind of host key still wants to
// log in with any kind of user key, so the rest follows, except for other signatures by the same kind of key.
function allowUserKeys(list) {
  for (const algorithm of known(ssh.SshAlgorithms.publicKey)) {
    const taken = list.some((other) => other && other.keyAlgorithmName === algorithm.keyAlgorithmName);
    if (!taken) list.push(algorithm);
  }
}

function configuration() {
  const config = new ssh.SshSessionConfiguration();
  configure(config, settings);
  allowUserKeys(config.publicKeyAlgorithms);
  if (settings.reconnect) {
    config.protocolExtensions.push(
      ssh.SshProtocolExtensionNames.sessionReconnect,
      ssh.SshProtocolExtensionNames.sessionLatency,
    );
  }
  if (settings.rekey_bytes) config.keyRotationThreshold = settings.rekey_bytes;
  return config;
}

// A PKCS#1 or SEC1 PEM file, as `ssh-keygen -m PEM` writes them.
async function readKey(path) {
  const key = crypto.createPrivateKey(fs.readFileSync(path));
  if (key.asymmetricKeyType === 'rsa') {
    const pair = ssh.SshAlgorithms.publicKey.rsaWithSha512.createKeyPair();
    const der = key.export({ type: 'pkcs1', format: 'der' });
    await pair.importParameters(formatters.Pkcs1KeyFormatter.parseRsaPrivate(der));
    return pair;
  }
  const bits = { prime256v1: 256, secp384r1: 384, secp521r1: 521 }[key.asymmetricKeyDetails.namedCurve];
  const pair = ssh.SshAlgorithms.publicKey[`ecdsaSha2Nistp${bits}`].createKeyPair();
  const der = key.export({ type: 'sec1', format: 'der' });
  await pair.importParameters(formatters.Sec1KeyFormatter.parseECPrivate(der));
  return pair;
}

// The key blob of an OpenSSH `.pub` line.
function readPublicBlob(path) {
  return Buffer.from(fs.readFileSync(path, 'utf8').split(' ')[1], 'base64');
}

async function sameKey(pair, path) {
  const wanted = readPublicBlob(path);
  // The library writes the signature algorithm's name into an RSA blob, OpenSSH writes `ssh-rsa`.
  const name = pair.keyAlgorithmName === 'ssh-rsa' ? 'ssh-rsa' : undefined;
  return wanted.equals(await pair.getPublicKeyBytes(name));
}

function trace(level, eventId, message) {
  if (settings.trace) process.stderr.write(`${level} ${eventId} ${message}\n`);
}

module.exports = { configuration, fail, known, listsByOption, readKey, sameKey, say, settings, ssh, trace };
