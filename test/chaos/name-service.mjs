/**
 * Loaded before the service of a row: names are looked up in the file NAMES_FILE (JSON, name to address), which the row
 * changes. A name of `.chaos` that is not in it does not exist; others are asked of the system.
 */
import dns from 'node:dns';
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import process from 'node:process';

const { lookup } = dns;

dns.lookup = (name, options, callback) => {
  if (!name.endsWith('.chaos')) return lookup(name, options, callback);
  const done = typeof options === 'function' ? options : callback;
  const all = typeof options === 'object' && options.all === true;
  const address = JSON.parse(readFileSync(process.env.NAMES_FILE, 'utf8'))[name];
  process.nextTick(() => {
    if (address === undefined) done(Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: 'ENOTFOUND' }));
    else if (all) done(null, [{ address, family: 4 }]);
    else done(null, address, 4);
  });
  return {};
};
syncBuiltinESMExports();
