import { Buffer } from 'node:buffer';
import { describe, expect, test } from '@jest/globals';
import * as proto from '../../../src/gen/shardkeep/session/v1/session.js';
import { ShardkeepError } from '../../../src/client/index.js';
import { toClaimCharacterResult } from '../../../src/client/sessions/character-claims.js';
import { toCreateSessionResult } from '../../../src/client/sessions/create-session.js';
import { toRotateSessionResult } from '../../../src/client/sessions/rotate-session.js';
import { toClientFields } from '../../../src/client/sessions/session-client.js';
import { toSessionEvent } from '../../../src/client/sessions/session-events.js';
import { toEndCause, toSession } from '../../../src/client/sessions/session.js';
import { toValidateSessionResult } from '../../../src/client/sessions/validate-session.js';

/** The words of the SDK are those of the proto, in lower case; what is not in the proto yet has none. */

type Enumeration = Readonly<Record<string, string | number>>;

/** Names and numbers of what a service may answer. */
function valuesOf(enumeration: Enumeration): [string, number][] {
  return Object.entries(enumeration).flatMap(([name, value]) =>
    typeof value === 'number' && value > 0 ? [[name.toLowerCase(), value] as [string, number]] : [],
  );
}

/** What a service sends where this field, with a number below 16, has the value of an enum; known to the proto or not. */
function field(number: number, value: number): Buffer {
  return Buffer.from([number << 3, value]);
}

function encoded<Message>(type: proto.MessageFns<Message>, message: proto.DeepPartial<Message>): Buffer {
  return Buffer.from(type.encode(type.fromPartial(message)).finish());
}

const STATUS = 1;
const session = proto.Session.fromPartial({ sessionId: 'id' });
const end = proto.SessionEnd.fromPartial({});
const created = encoded(proto.CreateSessionResponse, { session });
const validated = encoded(proto.ValidateSessionResponse, { session, end });
const rotated = encoded(proto.RotateSessionResponse, { session, end });
const claimed = encoded(proto.ClaimCharacterResponse, { claim: proto.CharacterClaim.fromPartial({ epoch: 1n }) });
const withStatus = (response: Buffer, status: number): Buffer => Buffer.concat([response, field(STATUS, status)]);

const OUTCOMES = {
  CreateSession: [
    proto.CreateSessionStatus,
    (status: number) => toCreateSessionResult(proto.CreateSessionResponse.decode(withStatus(created, status))),
  ],
  ValidateSession: [
    proto.ValidateSessionStatus,
    (status: number) => toValidateSessionResult(proto.ValidateSessionResponse.decode(withStatus(validated, status))),
  ],
  RotateSession: [
    proto.RotateSessionStatus,
    (status: number) => toRotateSessionResult(proto.RotateSessionResponse.decode(withStatus(rotated, status))),
  ],
  ClaimCharacter: [
    proto.ClaimCharacterStatus,
    (status: number) => toClaimCharacterResult(proto.ClaimCharacterResponse.decode(withStatus(claimed, status))),
  ],
} as const;

describe.each(Object.entries(OUTCOMES))('the outcomes of %s', (_rpc, [enumeration, toResult]) => {
  test('are named as in the proto', () => {
    for (const [name, value] of valuesOf(enumeration)) expect(toResult(value).status).toBe(name);
  });

  test('are refused where they are not known', () => {
    for (const value of [0, 99]) expect(() => toResult(value)).toThrow(ShardkeepError);
  });
});

const NAMES = {
  'causes of an end': [
    proto.SessionEndCause,
    (value: number) => toEndCause(proto.SessionEnd.decode(field(1, value)).cause),
  ],
  'types of events': [
    proto.SessionEventType,
    (value: number) => toSessionEvent(proto.SessionEvent.decode(field(2, value))).type,
  ],
  'fields of a client': [
    proto.SessionClientField,
    (value: number) => toClientFields(proto.ValidateSessionResponse.decode(field(4, value)).changedClientFields)[0],
  ],
} as const;

describe.each(Object.entries(NAMES))('%s', (_what, [enumeration, toName]) => {
  test('are named as in the proto; what only a newer service knows is unknown', () => {
    for (const [name, value] of valuesOf(enumeration)) expect(toName(value)).toBe(name);
    for (const value of [0, 99]) expect(toName(value)).toBe('unknown');
  });
});

test('classes of devices are named as in the proto; any other is `other`', () => {
  const classOf = (value: number) =>
    // field 18
    toSession(proto.Session.decode(Buffer.from([0x90, 0x01, value])), '').deviceClass;
  for (const [name, value] of valuesOf(proto.DeviceClass)) expect(classOf(value)).toBe(name);
  for (const value of [0, 99]) expect(classOf(value)).toBe('other');
});
