// Says which algorithms the Dev Tunnels library has.
'use strict';

const { known, listsByOption, say } = require('./common');

const names = Object.entries(listsByOption).map(([option, [, table]]) => [
  option,
  known(table).map((algorithm) => algorithm.name),
]);
say('algorithms', Object.fromEntries(names));
process.exit(0);
