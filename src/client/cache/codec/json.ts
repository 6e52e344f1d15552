import { Buffer } from 'node:buffer';
import { types } from 'node:util';
import type { Codec } from './codec.js';

/** JSON in UTF-8: what JSON.stringify keeps of a value comes back, so a Date is a string afterwards. The default. */
export const json: Codec = {
  id: 0,
  encode: (value) => {
    // `{}` would be kept
    if (types.isMap(value) || types.isSet(value))
      throw new TypeError('JSON has no maps and sets: choose another codec');
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined) throw new TypeError('undefined, functions and symbols are nothing in JSON');
    return Buffer.from(text);
  },
  decode: (bytes) => JSON.parse(bytes.toString('utf8')) as unknown,
};
