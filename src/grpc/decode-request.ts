import { invalidField } from '../errors.js';
import type { Rpc } from './rpc.js';

/** Reads the request that is a part of `bytes`; throws INVALID_FIELD where it cannot be decoded. */
export function decodeRequest(rpc: Pick<Rpc, 'decode'>, bytes: Buffer, from: number, to: number): unknown {
  try {
    return rpc.decode(bytes, from, to);
  } catch {
    throw invalidField('', 'the message cannot be decoded');
  }
}
