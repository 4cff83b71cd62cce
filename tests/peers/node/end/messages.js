// Messages with fields behind those that the library knows. Fields are hexadecimal in commands and events.
'use strict';

const { ssh } = require('../common');

// A class like `Base` that keeps what follows in `fields`.
function withFields(Base) {
  return class extends Base {
    onRead(reader) {
      super.onRead(reader);
      this.fields = Buffer.from(reader.read(reader.available));
    }
    onWrite(writer) {
      super.onWrite(writer);
      writer.write(this.fields || Buffer.alloc(0));
    }
  };
}

const Open = withFields(ssh.ChannelOpenMessage);
const Confirmation = withFields(ssh.ChannelOpenConfirmationMessage);
const ChannelRequest = withFields(ssh.ChannelRequestMessage);
const Request = withFields(ssh.SessionRequestMessage);
const Success = withFields(ssh.SessionRequestSuccessMessage);
const Failure = withFields(ssh.SessionRequestFailureMessage);

// A message with these members; `fields` as text in hexadecimal.
function make(Class, members) {
  const message = Object.assign(new Class(), members);
  message.fields = Buffer.from(members.fields || '', 'hex');
  return message;
}

// The fields of a message that the library has read.
function fieldsOf(Class, message) {
  return message.convertTo(new Class(), true).fields.toString('hex');
}

module.exports = { ChannelRequest, Confirmation, Failure, Open, Request, Success, fieldsOf, make, withFields };
