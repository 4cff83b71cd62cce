// The login is the answer to a question.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');
const { mark } = require('../ends');

const CODE = 'secret42';

function configure(config) {
  config.authenticationMethods.splice(0, Infinity, 'keyboard-interactive');
}

function admit(args) {
  if (args.authenticationType !== ssh.SshAuthenticationType.clientInteractive) return null;
  if (!args.infoResponse) {
    const question = new ssh.AuthenticationInfoRequestMessage();
    question.instruction = 'Please answer the security question';
    question.prompts = [{ prompt: 'Enter code: ', echo: true }];
    args.infoRequest = question;
    return null;
  }
  const { responses } = args.infoResponse;
  const right = responses.length === 1 && responses[0] === CODE;
  mark(right ? 'KBD_AUTH_VERIFIED' : 'KBD_AUTH_REJECTED');
  return right ? { name: args.username } : null;
}

function answer(args) {
  const response = new ssh.AuthenticationInfoResponseMessage();
  response.responses = args.infoRequest.prompts.map(() => CODE);
  args.infoResponse = response;
}

module.exports = { ...require('./echo'), configure, admit, answer, authenticated: 'KBD_AUTH_OK' };
