import { status as Code, type Client, type StatusObject } from '@grpc/grpc-js';

/** What of a call of grpc-js tells where it went. */
export interface CallPeer {
  getPeer(): string;
}

/** Whether the call never had a connection to a service: until it has one, its peer is the address the client was made for. */
export function wasNeverSent(call: CallPeer | undefined, client: Client): boolean {
  return call?.getPeer() === client.getChannel().getTarget();
}

/** Whether a status is of the connection alone: no service said so. */
export function isOfConnection({ code, metadata }: Pick<StatusObject, 'code' | 'metadata'>): boolean {
  return code === Code.UNAVAILABLE && Object.keys(metadata.getMap()).length === 0;
}
