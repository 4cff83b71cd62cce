// Tells what the other side does, and answers it:
//
// - a channel of type `refuse` is refused with reason 2, one of type `slow` is confirmed after 200 ms, one of type
//   `confirm` with the fields `yes`;
// - a request of a channel named `no` is refused, a session's with the fields `why`, one named `slow` is answered
//   after 100 ms; a session's request is granted with its own fields behind `re:`;
// - messages with the number 200 are an application's own.
'use strict';

const { ChannelSuccessMessage } = require('@microsoft/dev-tunnels-ssh/messages/connectionMessages');
const { say, ssh } = require('../common');
const { ChannelRequest, Confirmation, Failure, Open, Request, Success, fieldsOf, make } = require('./messages');

const hex = (text) => Buffer.from(text).toString('hex');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A message of the application's own.
class Own extends ssh.SshMessage {
  get messageType() {
    return 200;
  }
  onRead(reader) {
    this.fields = Buffer.from(reader.read(reader.available));
  }
}

function observe(state) {
  const { session } = state;
  session.config.messages.set(200, Own);
  const { handleMessage } = session;
  session.handleMessage = (message, cancellation) => {
    if (message instanceof Own) say('own', { fields: message.fields.toString('hex') });
    else return handleMessage.call(session, message, cancellation);
  };
  let number = 0;
  session.onChannelOpening((args) => {
    if (!args.isRemoteRequest) return;
    const { channel, request } = args;
    const name = `in${number++}`;
    say('channel', { channel: name, kind: channel.channelType, fields: fieldsOf(Open, request) });
    if (channel.channelType === 'refuse') {
      args.failureReason = ssh.SshChannelOpenFailureReason.connectFailed;
      args.failureDescription = 'nobody there';
      return;
    }
    if (channel.channelType === 'slow') {
      args.openingPromise = sleep(200).then(() => new ssh.ChannelOpenConfirmationMessage());
    } else if (channel.channelType === 'confirm') {
      args.openingPromise = Promise.resolve(make(Confirmation, { fields: hex('yes') }));
    }
    keep(state, name, channel);
  });
  session.onRequest((args) => {
    const { requestType: name, request } = args;
    const fields = fieldsOf(Request, request);
    say('global', { name, fields, reply: request.wantReply });
    const answer =
      name === 'no' ? make(Failure, { fields: hex('why') }) : make(Success, { fields: hex('re:') + fields });
    args.responsePromise = sleep(name === 'slow' ? 100 : 0).then(() => answer);
  });
  session.onClosed(({ reason, message }) => say('session_closed', { reason, message }));
  session.onKeepAliveSucceeded((count) => say('keepalive', { answered: true, count }));
  session.onKeepAliveFailed((count) => say('keepalive', { answered: false, count }));
  session.onReportProgress(({ progress }) => say('progress', { step: progress }));
  session.onServiceActivated((service) => say('service', { name: service.constructor.name }));
}

// Follows a channel under this name.
function keep(state, name, channel) {
  const kept = { channel, received: Buffer.alloc(0), stderr: Buffer.alloc(0), look: [] };
  const take = (where, data) => {
    kept[where] = Buffer.concat([kept[where], data]);
    channel.adjustWindow(data.length);
    kept.look.splice(0).forEach((look) => look());
  };
  state.channels.set(name, kept);
  channel.onDataReceived((data) => take('received', data));
  channel.onExtendedDataReceived(({ dataTypeCode, data }) => take(dataTypeCode === 1 ? 'stderr' : 'received', data));
  channel.onEof(() => say('eof', { channel: name }));
  channel.onRequest((args) => {
    const { requestType, request } = args;
    // One that came with its channel is kept in another message, and cannot be read again.
    const fields = request.rawBytes[0] === request.messageType ? fieldsOf(ChannelRequest, request) : undefined;
    say('request', { channel: name, name: requestType, fields, reply: request.wantReply });
    args.isAuthorized = requestType !== 'no';
    if (requestType !== 'slow') return;
    args.responsePromise = sleep(100).then(() => new ChannelSuccessMessage());
  });
  channel.onClosed(({ exitStatus, exitSignal, errorMessage, error }) =>
    say('closed', { channel: name, status: exitStatus, signal: exitSignal, message: errorMessage, error: error && error.message }),
  );
}

module.exports = { keep, observe };
