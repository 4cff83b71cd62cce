// Imports keys with the Dev Tunnels key library and exports them again in every form that it has.
//
// Settings: keys, a list of {text, passphrase}; generate, a list of algorithms to make a key of. Prints one JSON
// object: for each key, imported ones first, either {error} or {public, private, encrypted}, of which the last three
// map the name of a format to a text.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');
const keys = require('@microsoft/dev-tunnels-ssh-keys');

const settings = JSON.parse(process.argv[2]);
const FORMATS = { openssh: 1, pkcs1: 3, sec1: 4, pkcs8: 5, jwk: 7 };
const PASSPHRASE = 'battery staple';

// The forms of a key, without those that the library refuses.
async function everyForm(formats, write) {
  const texts = {};
  for (const name of formats) {
    try {
      texts[name] = await write(FORMATS[name]);
    } catch (error) {
      texts[name] = null;
    }
  }
  return texts;
}

async function forms(pair) {
  const traditional = pair instanceof ssh.Rsa.KeyPair ? 'pkcs1' : 'sec1';
  const result = {
    public: await everyForm(['openssh', 'pkcs8', 'pkcs1', 'jwk'], (format) => keys.exportPublicKey(pair, format)),
  };
  if (pair.hasPrivateKey) {
    const all = [traditional, 'pkcs8', 'jwk'];
    result.private = await everyForm(all, (format) => keys.exportPrivateKey(pair, null, format));
    result.encrypted = await everyForm(all, (format) => keys.exportPrivateKey(pair, PASSPHRASE, format));
  }
  return result;
}

async function answer(make) {
  try {
    return await forms(await make());
  } catch (error) {
    return { error: String((error && error.message) || error) };
  }
}

async function main() {
  const answers = [];
  for (const { text, passphrase } of settings.keys || []) {
    answers.push(await answer(() => keys.importKey(text, passphrase || null)));
  }
  for (const name of settings.generate || []) {
    const algorithm = Object.values(ssh.SshAlgorithms.publicKey).find((known) => known && known.name === name);
    answers.push(await answer(() => algorithm.generateKeyPair()));
  }
  process.stdout.write(JSON.stringify(answers) + '\n', () => process.exit(0));
}

main().catch((error) => {
  process.stderr.write(String((error && error.stack) || error) + '\n');
  process.exit(1);
});
