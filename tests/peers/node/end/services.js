// Services that start when they are first asked for, each by another rule.
'use strict';

const { say, ssh } = require('../common');

class NamedService extends ssh.SshService {}
ssh.serviceActivation({ serviceRequest: 'named-service' })(NamedService);

class RequestService extends ssh.SshService {
  async onSessionRequest(args) {
    say('served', { by: 'RequestService', what: args.requestType });
    args.isAuthorized = true;
  }
}
ssh.serviceActivation({ sessionRequest: 'wake-by-request' })(RequestService);

class ChannelService extends ssh.SshService {
  async onChannelOpening(args) {
    if (args.isRemoteRequest) say('served', { by: 'ChannelService', what: args.channel.channelType });
  }
}
ssh.serviceActivation({ channelType: 'wake-by-channel' })(ChannelService);

class ChannelRequestService extends ssh.SshService {
  async onChannelRequest(channel, args) {
    say('served', { by: 'ChannelRequestService', what: args.requestType });
    args.isAuthorized = true;
  }
}
ssh.serviceActivation({ channelRequest: 'wake-by-channel-request' })(ChannelRequestService);

module.exports = { all: [NamedService, RequestService, ChannelService, ChannelRequestService] };
