// A request that takes long to answer holds up nothing on other channels.
'use strict';

const ssh = require('@microsoft/dev-tunnels-ssh');
const { ChannelSuccessMessage } = require('@microsoft/dev-tunnels-ssh/messages/connectionMessages');
const { check, echo, echoes, mark, reader, sleep } = require('../ends');

function channel(channel, number) {
  if (number > 0) return echo(channel, () => mark('CH2_ECHOED'));
  channel.onRequest((args) => {
    mark('CH1_REQUEST_RECEIVED');
    // The library waits for a handler's promise before it reads on, so the answer is sent past it.
    args.request.wantReply = false;
    args.isAuthorized = true;
    answerLater(channel);
  });
}

async function answerLater(channel) {
  await sleep(3000);
  mark('CH1_REQUEST_DONE');
  const answer = new ChannelSuccessMessage();
  answer.recipientChannel = channel.remoteChannelId;
  await channel.session.sendMessage(answer);
}

async function run(session) {
  const first = await session.openChannel();
  mark('CHANNEL_OPEN');
  mark('CHANNEL1_OPEN');
  const second = await session.openChannel();
  const read = reader(second);
  mark('CHANNEL2_OPEN');
  const request = async () => {
    check(await first.request(new ssh.ChannelRequestMessage('blocking-test', true)), 'the request was refused');
    mark('CH1_REQUEST_OK');
  };
  const data = async () => {
    await sleep(50);
    const started = performance.now();
    const same = await echoes(second, read, Buffer.from('CONCURRENT_TEST_DATA'));
    check(same && performance.now() - started < 2000, 'the echo waited for the request');
    mark('CONCURRENT_REQUEST_OK');
  };
  await Promise.all([request(), data()]);
}

module.exports = { channel, run };
