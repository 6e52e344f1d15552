import { connect } from '../../src/client/index.js';

/** A game server that is asked to load a key, and says so; it is killed before it can. */

const [, , address = '', key = '', leaseMs = ''] = process.argv;
const { cache } = connect(address, { timeoutMs: 30_000 }).rpc;
const { leaseToken } = await cache.getOrLease({ key, leaseMs: BigInt(leaseMs) });
if (leaseToken.length > 0) process.send?.('leased');
