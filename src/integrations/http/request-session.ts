import { presentedClient } from './presented-client.js';
import { checkSession, type CheckedSession } from './session-check.js';
import { credentialOf, type RequestHeaders } from './session-credential.js';
import type { SessionOptions } from './session-options.js';

/** What is looked at of a request, whatever the framework. */
export interface RequestParts {
  readonly headers: RequestHeaders;
  readonly ip: string | undefined;
}

/** The session of a request, or why it has none; touches it. Throws ShardkeepError while nobody can tell. */
export async function sessionOfRequest<Request>(
  {
    client,
    tokenFrom = ['header'],
    maxAuthAgeMs,
    timeoutMs,
    deviceIdOf,
    requiredClientFields,
  }: SessionOptions<Request>,
  request: Request,
  { headers, ip }: RequestParts,
): Promise<CheckedSession> {
  return checkSession(client.sessions, await credentialOf(headers, tokenFrom), {
    client: presentedClient(ip, headers.get('user-agent'), deviceIdOf?.(request)),
    requiredClientFields,
    maxAuthAgeMs,
    timeoutMs,
  });
}
