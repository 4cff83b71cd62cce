// What an end can be told to do. Each function gets the state of the end and the command; what it returns is the event.
'use strict';

const { say, ssh } = require('../common');
const { keep } = require('./observe');
const { ChannelRequest, Failure, Open, Confirmation, Request, Success, fieldsOf, make } = require('./messages');
const { ChannelSignalMessage } = require('@microsoft/dev-tunnels-ssh/messages/connectionMessages');

const kept = (state, name) => state.channels.get(name);
const bytes = ({ text, length }) => (length ? Buffer.from(Array.from({ length }, (_, i) => i % 251)) : Buffer.from(text));

// {channel, kind, fields, request: {name, fields}}. No window: theirs, if smaller than a megabyte, is never given back.
async function open(state, { channel: name, kind, fields, request }) {
  const message = make(Open, { channelType: kind, fields });
  const first = request && make(ChannelRequest, { requestType: request.name, wantReply: true, fields: request.fields });
  const channel = await state.session.openChannel(message, first);
  keep(state, name, channel);
  return { channel: name, fields: fieldsOf(Confirmation, channel.openConfirmationMessage) };
}

// {name, fields, reply}: a session's request.
async function ask(state, { name, fields, reply = true }) {
  const request = make(Request, { requestType: name, wantReply: reply, fields });
  if (!reply) return void (await state.session.request(request));
  const answer = await state.session.requestResponse(request, Success, Failure);
  return { name, accepted: answer instanceof Success, fields: answer.fields.toString('hex') };
}

// {channel, name, fields, reply}: a channel's request. `number` comes back with the answer.
async function call(state, { channel, name, fields, reply = true, number }) {
  const request = make(ChannelRequest, { requestType: name, wantReply: reply, fields });
  return { name, number, accepted: await kept(state, channel).channel.request(request) };
}

// {channel, signal}
async function signal(state, { channel, signal }) {
  const message = new ChannelSignalMessage();
  message.signal = signal;
  await kept(state, channel).channel.request(message);
}

// {channel, text or length, stderr}
async function write(state, command) {
  const { channel } = kept(state, command.channel);
  if (command.stderr) await channel.sendExtendedData(ssh.SshExtendedDataType.STDERR, bytes(command));
  else await channel.send(bytes(command));
}

// {channel, length, stderr}: waits for so many bytes, and tells them, or of a pattern whether it is one.
async function read(state, { channel, length, stderr, pattern }) {
  const from = kept(state, channel);
  const where = stderr ? 'stderr' : 'received';
  while (from[where].length < length) await new Promise((resolve) => from.look.push(resolve));
  const data = from[where].subarray(0, length);
  from[where] = from[where].subarray(length);
  return pattern ? { same: data.equals(bytes({ length })) } : { text: data.toString() };
}

// {channel}
async function end_of_data(state, { channel }) {
  await kept(state, channel).channel.send(Buffer.alloc(0));
}

// {channel, status or signal and message}
async function close(state, { channel, status, signal, message }) {
  const closing = kept(state, channel).channel;
  if (status !== undefined) await closing.close(status);
  else if (signal) await closing.close(signal, message);
  else await closing.close();
}

// {reason, message}
async function disconnect(state, { reason, message }) {
  await state.session.close(reason, message);
}

async function reconnect(state) {
  await state.session.reconnect(await state.dial());
}

async function request_service(state, { name }) {
  await state.session.requestService(name);
}

// {number, fields}: a message of the application's own; observe.js tells of those of the other side.
async function send(state, { number, fields }) {
  class Message extends ssh.SshMessage {
    get messageType() {
      return number;
    }
    onWrite(writer) {
      writer.write(Buffer.from(fields, 'hex'));
    }
  }
  await state.session.sendMessage(new Message());
}

// What the library knows of the session.
async function facts({ session }) {
  const { metrics, protocol, remoteVersion, protocolExtensions } = session;
  return {
    sent: { messages: metrics.messagesSent, bytes: metrics.bytesSent },
    received: { messages: metrics.messagesReceived, bytes: metrics.bytesReceived },
    reconnections: metrics.reconnections,
    latency: { current: metrics.latencyCurrentMs, min: metrics.latencyMinMs, max: metrics.latencyMaxMs },
    reconnect: !!protocol && protocol.incomingMessagesHaveReconnectInfo && protocol.outgoingMessagesHaveReconnectInfo,
    session: session.sessionId && session.sessionId.toString('hex'),
    software: remoteVersion && remoteVersion.name,
    extensions: protocolExtensions && [...protocolExtensions.keys()],
  };
}

// A channel's counters.
async function counters(state, { channel }) {
  const { metrics } = kept(state, channel).channel;
  return { sent: metrics.bytesSent, received: metrics.bytesReceived };
}

// Collects the session's contour from now on; `contour` tells it.
async function start_contour(state) {
  state.contour = new ssh.SessionContour(64);
  state.contour.collectMetrics(state.session.metrics).catch((error) => say('contour_failed', { message: String(error) }));
}

async function contour(state) {
  return { exported: state.contour.export() };
}

// {text}: reads a contour that the other side has drawn.
async function import_contour(state, { text }) {
  const contour = ssh.SessionContour.import(text);
  return { sent: contour.bytesSent.reduce((sum, bytes) => sum + bytes, 0), exported: contour.export() };
}

// The numbers of what both sides have names for.
async function numbers() {
  return {
    trace: { ...ssh.SshTraceEventIds },
    disconnect: ssh.SshDisconnectReason,
    open: ssh.SshChannelOpenFailureReason,
  };
}

module.exports = {
  ask,
  call,
  close,
  contour,
  counters,
  disconnect,
  end_of_data,
  facts,
  import_contour,
  numbers,
  open,
  read,
  reconnect,
  request_service,
  send,
  signal,
  start_contour,
  write,
};
